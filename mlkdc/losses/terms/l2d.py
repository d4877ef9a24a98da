"""Multi-Label Knowledge Distillation (L2D), Yang et al., ICCV 2023: MLD, CD and ID."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.batch import Batch
from mlkdc.losses.common import bernoulli_kl
from mlkdc.losses.pairs import pair_distances, pairs_within
from mlkdc.losses.term import TERMS, Term


@TERMS.register("mld")
class MLD(Term):
    """Multi-label logits distillation (Eq. 3): the divergence of each label's probability from the teacher's.

    ``L = 1 / b * sum_ik KL(p_T,ik || p_S,ik)``

    Its gradient with respect to a student logit is (p_S - p_T) / b. No arguments.
    """

    needs = frozenset({"teacher.logits"})
    uses_labels = False

    def compute(self, batch: Batch) -> Tensor:
        """See :class:`mlkdc.losses.Term`."""
        assert batch.teacher is not None
        student, teacher = batch.student.logits, batch.teacher.logits
        return bernoulli_kl(teacher, student).sum() / len(student)


class _LabelwiseDistances(Term):
    """What :class:`CD` and :class:`ID` share: distances of positive label-wise embeddings within groups.

    The embeddings of student and teacher may differ in size: no difference between them is taken.

    ``reference``: in every group of n >= 2 members each side's distances are first divided by their mean
    over the off-diagonal pairs, and the group's sum is divided by n. ``paper``: neither.
    """

    needs = frozenset({"student.embeddings", "teacher.embeddings"})
    relational = True
    forms = ("reference", "paper")

    @property
    def batch_degree(self) -> int:
        """See :class:`mlkdc.losses.Term`."""
        return 1  # a sum over what is in the groups, in both forms

    @abstractmethod
    def _groups(self, positives: Tensor) -> Tensor:
        """From the (image, class) indices ``[P, 2]``, the group ``[P]`` of each embedding."""

    def compute(self, batch: Batch) -> Tensor:
        """See :class:`mlkdc.losses.Term`."""
        assert batch.teacher is not None
        students, teachers = batch.student.embeddings, batch.teacher.embeddings
        assert students is not None
        assert teachers is not None
        groups = self._groups(batch.targets.nonzero())
        if not len(groups) == len(students) == len(teachers):
            raise ValueError(
                f"expected one embedding per positive label ({len(groups)}), "
                f"got {len(students)} from the student and {len(teachers)} from the teacher"
            )
        first, second = pairs_within(groups)
        student = pair_distances(students, first, second)
        teacher = pair_distances(teachers, first, second)
        scale = torch.ones_like(student)
        if self.form == "reference":
            member_of = groups[first]
            student, teacher = _over_mean(student, member_of), _over_mean(teacher, member_of)
            scale = 1 / groups.bincount()[member_of].to(student.dtype)
        # Twice: the pairs hold (i, j) and not (j, i); the diagonal is zero on both sides.
        return 2 * (scale * F.smooth_l1_loss(student, teacher, reduction="none")).sum()


def _over_mean(distances: Tensor, member_of: Tensor) -> Tensor:
    """Distances ``[m]`` divided by the mean of their group ``[m]``; zero where a group's are all zero."""
    counts = member_of.bincount()
    means = distances.new_zeros(len(counts)).index_add(0, member_of, distances) / counts.clamp(min=1)
    return distances / torch.where(means > 0, means, torch.ones_like(means))[member_of]


@TERMS.register("cd")
class CD(_LabelwiseDistances):
    """Class-aware label-wise embedding distillation (Eq. 4-6): pairs of images of one positive class.

    ``L = sum_k 1 / n_k * sum_{i != j} H(d_S(e_ik, e_jk), d_T(e_ik, e_jk)), over the n_k images with label k``

    d are Euclidean distances of label-wise embeddings e, in form ``reference`` divided by their mean over the group;
    form ``paper`` has neither that nor the factor 1 / n_k.

    Args:
        form: ``reference`` or ``paper``.
    """

    @property
    def batch_degree(self) -> int:
        """See :class:`mlkdc.losses.Term`."""
        if self.form == "paper":
            return 2  # of all pairs of images, of which those in different batches are never seen
        return super().batch_degree

    def _groups(self, positives: Tensor) -> Tensor:
        return positives[:, 1]


@TERMS.register("id")
class ID(_LabelwiseDistances):
    """Instance-aware label-wise embedding distillation (Eq. 6-8): pairs of positive classes of one image.

    ``L = sum_i 1 / n_i * sum_{k != l} H(d_S(e_ik, e_il), d_T(e_ik, e_il)), over the n_i labels of image i``

    d as for :class:`CD`; form ``paper`` has neither their mean nor the factor 1 / n_i.

    Args:
        form: ``reference`` or ``paper``.
    """

    def _groups(self, positives: Tensor) -> Tensor:
        return positives[:, 0]
