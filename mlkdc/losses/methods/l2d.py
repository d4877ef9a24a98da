"""Multi-Label Knowledge Distillation (L2D), Yang et al., ICCV 2023: MLD, CD and ID."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.base import TERMS, Batch, Method, Term, add_method
from mlkdc.losses.common import bernoulli_kl
from mlkdc.losses.pairs import pair_distances, pairs_within


@TERMS.register("mld")
class MLD(Term):
    """Multi-label logits distillation (Eq. 3): KL(p_T || p_S) of each label's Bernoulli distribution, summed
    over labels, mean over the batch. Its gradient with respect to a student logit is (p_S - p_T) / b.
    """

    needs = frozenset({"teacher.logits"})

    def __call__(self, batch: Batch) -> Tensor:
        assert batch.teacher is not None
        student, teacher = batch.student.logits, batch.teacher.logits
        return bernoulli_kl(teacher, student).sum() / len(student)


class _LabelwiseDistances(Term):
    """Smooth-L1 (beta 1) between the teacher's and the student's Euclidean distances of positive label-wise
    embeddings, summed over all ordered pairs within a group and over groups.

    ``reference``: in every group of n >= 2 members each side's distances are first divided by their own mean
    over the off-diagonal pairs, and the group's sum is divided by n. ``paper``: neither.
    """

    needs = frozenset({"student.embeddings", "teacher.embeddings"})
    relational = True
    forms = ("reference", "paper")

    @abstractmethod
    def _groups(self, positives: Tensor) -> Tensor:
        """From the (image, class) indices ``[P, 2]``, the group ``[P]`` of each embedding."""

    def __call__(self, batch: Batch) -> Tensor:
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
        share = torch.ones_like(student)
        if self.form == "reference":
            member_of = groups[first]
            student, teacher = _over_mean(student, member_of), _over_mean(teacher, member_of)
            share = 1 / groups.bincount()[member_of].to(student.dtype)
        # Twice: the pairs hold (i, j) and not (j, i); the diagonal is zero on both sides.
        return 2 * (share * F.smooth_l1_loss(student, teacher, reduction="none")).sum()


def _over_mean(distances: Tensor, member_of: Tensor) -> Tensor:
    """Distances ``[m]`` divided by the mean of their group ``[m]``; zero where a group's are all zero."""
    counts = member_of.bincount()
    means = distances.new_zeros(len(counts)).index_add(0, member_of, distances) / counts.clamp(min=1)
    return distances / torch.where(means > 0, means, torch.ones_like(means))[member_of]


@TERMS.register("cd")
class CD(_LabelwiseDistances):
    """Class-aware label-wise embedding distillation (Eq. 4-6): pairs of images of one positive class."""

    def _groups(self, positives: Tensor) -> Tensor:
        return positives[:, 1]


@TERMS.register("id")
class ID(_LabelwiseDistances):
    """Instance-aware label-wise embedding distillation (Eq. 6-8): pairs of positive classes of one image."""

    def _groups(self, positives: Tensor) -> Tensor:
        return positives[:, 0]


PAPER = "Yang et al., Multi-Label Knowledge Distillation, ICCV 2023"

add_method(Method("mld", PAPER, "matches each label's probability to the teacher's", {"bce": 1, "mld": 10}))
add_method(
    Method(
        "l2d",
        PAPER,
        "matches probabilities, and distances between label-wise embeddings per class and per image",
        {"bce": 1, "mld": 10, "cd": 100, "id": 1000},
    )
)
