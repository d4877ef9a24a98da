"""Methods that L2D and MDKD compare with: squared error of logits, RKD and PKT."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.batch import Batch, Outputs
from mlkdc.losses.pairs import pair_distances
from mlkdc.losses.term import TERMS, Term


@TERMS.register("mse")
class MSE(Term):
    """Squared difference between the student's and the teacher's logits.

    ``L = c * sum_ik (s_ik - t_ik)^2, with c = 1 (reference) or 1 / b (paper)``

    ``reference``: the sum over batch and labels, as the release of Xu et al. (IJCAI 2022), whom L2D cites for it,
    has it. ``paper``: that sum divided by b. Its ratio to the BCE of the same form is the same in both.

    Args:
        form: ``reference`` or ``paper``.
    """

    needs = frozenset({"teacher.logits"})
    uses_labels = False
    forms = ("reference", "paper")

    def compute(self, batch: Batch) -> Tensor:
        """See :class:`mlkdc.losses.Term`."""
        assert batch.teacher is not None
        student, teacher = batch.student.logits, batch.teacher.logits
        total = F.mse_loss(student, teacher, reduction="sum")
        if self.form == "paper":
            return total / len(student)
        return total


def _pooled(outputs: Outputs | None) -> Tensor:
    """``[b, C]``, which the objective has checked to be there."""
    assert outputs is not None
    assert outputs.pooled is not None
    return outputs.pooled


def _pairs(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Indices ``[b (b - 1) / 2]`` each of all pairs of rows of ``[b, C]``, every pair once."""
    first, second = torch.triu_indices(len(vectors), len(vectors), offset=1, device=vectors.device)
    return first, second


@TERMS.register("rkd_d")
class RKDDistance(Term):
    """Distance-wise RKD (Park et al., CVPR 2019, section 3.2.1) of pooled features.

    ``L = 1 / b^2 * sum_ij H(d_S(i, j) / mean d_S, d_T(i, j) / mean d_T)``

    Each side's Euclidean distances are divided by their mean over those above 0; the smooth-L1 (beta 1) of their
    differences is averaged over all b x b entries, as in the authors' code, where the paper sums. Images of the
    same features have distance 0 here; the authors' code gives them 1e-6 and counts them in the mean. No arguments.
    """

    needs = frozenset({"student.pooled", "teacher.pooled"})
    soft_labels = True
    relational = True

    def compute(self, batch: Batch) -> Tensor:
        """See :class:`mlkdc.losses.Term`."""
        student, teacher = _over_mean(_pooled(batch.student)), _over_mean(_pooled(batch.teacher))
        # Twice: each pair stands for two entries; the diagonal is zero on both sides.
        return 2 * F.smooth_l1_loss(student, teacher, reduction="sum") / len(batch.student.logits) ** 2


def _over_mean(vectors: Tensor) -> Tensor:
    """Distances of every pair divided by the mean of those above 0; zero where all are."""
    distances = pair_distances(vectors, *_pairs(vectors))
    apart = (distances > 0).sum()
    mean = distances.sum() / apart.clamp(min=1)
    return distances / torch.where(apart > 0, mean, torch.ones_like(mean))


@TERMS.register("rkd_a")
class RKDAngle(Term):
    """Angle-wise RKD (Park et al., CVPR 2019, section 3.2.2) of pooled features.

    ``L = 1 / b^3 * sum_ijm H(cos_S(i; j, m), cos_T(i; j, m)), the cosine of the angle at i between j and m``

    The mean over all b x b x b is that of the authors' code. Keeps ``[b, b, C]`` and ``[b, b, b]``. Two images of the
    same features have no direction: their cosines are 0 and get no gradient. No arguments.
    """

    needs = frozenset({"student.pooled", "teacher.pooled"})
    soft_labels = True
    relational = True

    def compute(self, batch: Batch) -> Tensor:
        """See :class:`mlkdc.losses.Term`."""
        return F.smooth_l1_loss(_cosines(_pooled(batch.student)), _cosines(_pooled(batch.teacher)))


def _cosines(vectors: Tensor) -> Tensor:
    """``[b, b, b]``: entry (i, j, k) is the cosine of the angle at i between the directions to j and k."""
    differences = vectors[None] - vectors[:, None]
    lengths = torch.linalg.vector_norm(differences, dim=2, keepdim=True)
    apart = lengths > 0
    directions = torch.where(apart, differences / torch.where(apart, lengths, torch.ones_like(lengths)), 0)
    return directions @ directions.mT


@TERMS.register("pkt")
class PKT(Term):
    """PKT (Passalis and Tefas, ECCV 2018, section 3) of pooled features, with its cosine kernel.

    ``L = 1 / b^2 * sum_ij P_T(j | i) log[(P_T(j | i) + 1e-7) / (P_S(j | i) + 1e-7)]``

    The kernel (1 + cosine) / 2 of two images, divided by its sum over all images, is the probability that the one
    chooses the other as neighbor. The value is KL(teacher || student), averaged over all b x b entries as in the
    authors' code. As there, an image is a neighbor of itself (the paper omits it), and 1e-7 is added to both
    probabilities inside the logarithm, which is finite then for opposite features too. Features that are all 0 have
    cosine 0 with every other image. No arguments.
    """

    needs = frozenset({"student.pooled", "teacher.pooled"})
    soft_labels = True
    relational = True

    @property
    def batch_degree(self) -> int:
        """See :class:`mlkdc.losses.Term`."""
        return -1  # a mean over b x b entries, of which each row's sum is a divergence

    def compute(self, batch: Batch) -> Tensor:
        """See :class:`mlkdc.losses.Term`."""
        student, teacher = _neighbors(_pooled(batch.student)), _neighbors(_pooled(batch.teacher))
        return (teacher * ((teacher + PKT_EPSILON) / (student + PKT_EPSILON)).log()).mean()


PKT_EPSILON = 1e-7


def _neighbors(vectors: Tensor) -> Tensor:
    """Conditional probabilities ``[b, b]``; each row sums to 1."""
    count = len(vectors)
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    units = vectors / torch.where(lengths > 0, lengths, torch.ones_like(lengths))
    first, second = _pairs(vectors)
    apart = pair_distances(units, first, second)
    facing = pair_distances(torch.cat([units, -units]), first, second + count)
    # (1 + cosine) / 2 twice over, each where it is exact: equal features get no gradient, not even one of rounding,
    # and the probabilities of nearly opposite ones, whose logarithms are the largest, are not lost to cancellation.
    kernel = torch.where(apart < facing, 1 - apart.square() / 4, facing.square() / 4)
    nonzero = (lengths > 0).squeeze(1)
    kernel = torch.where(nonzero[first] & nonzero[second], kernel, 0.5)
    matrix = vectors.new_ones(count, count).index_put((first, second), kernel).index_put((second, first), kernel)
    return matrix / matrix.sum(dim=1, keepdim=True)
