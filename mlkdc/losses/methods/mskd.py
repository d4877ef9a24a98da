"""Multi-label self knowledge distillation (MSKD), Wang et al., AAAI 2025: LSD, RSD, SSD and their loss MBD."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mlkdc.errors import UsageError
from mlkdc.losses.base import TERMS, Batch, Method, add_method
from mlkdc.losses.common import LikeBCE, only
from mlkdc.losses.pairs import distance_matrix


def reformulated_softmax(logits: Tensor, positive: Tensor) -> Tensor:
    """The mean, over an image's true positives t, of the softmax over t and the true negatives (Eq. 13).

    Eq. 13 as printed divides a positive by the other positives' denominators too, which can exceed 1.

    Args:
        logits: ``[b, q]``.
        positive: ``[b, q]`` bool, at least one in every row.

    Returns:
        ``[b, q]`` log-probabilities; the probabilities of a row sum to 1.
    """
    negatives = only(~positive, logits).logsumexp(1, keepdim=True)
    of_positive = F.logsigmoid(logits - negatives)
    # A negative's probabilities over t differ in their denominators only.
    denominators = only(positive, -torch.logaddexp(logits, negatives)).logsumexp(1, keepdim=True)
    return torch.where(positive, of_positive, logits + denominators) - positive.sum(1, keepdim=True).log()


# Differences of probabilities that stem from float32 logits are not known better than this.
ROUNDING = 1e-6


def _power(value: Tensor, exponent: Tensor) -> Tensor:
    """abs(value)^exponent, with gradient 0 where value is no more than rounding: there the derivative for an exponent
    below 1 grows without bound, and its sign is noise.
    """
    size = value.abs()
    known = size > ROUNDING
    return torch.where(known, torch.where(known, size, 1) ** exponent, size.detach() ** exponent)


class _Balanced(LikeBCE):
    """What :class:`MBD` and the terms built on it share.

    ``reference``: summed over images, as the overall loss is printed beside a summed BCE; ``paper``: that divided by b.

    ``softmax`` takes the KL divergence of plain softmaxes over all labels instead (table 3's other rows).
    """

    def __init__(
        self,
        form: str = "reference",
        temperature: float = 4.0,
        omega: float = 0.5,
        gamma_positive: float = 0.25,
        gamma_negative: float = 1.0,
        detach_weights: bool = False,
        softmax: bool = False,
    ) -> None:
        super().__init__(form)
        self.softmax = softmax
        self.temperature = temperature
        self.omega = omega
        self.gamma_positive = gamma_positive
        self.gamma_negative = gamma_negative
        self.detach_weights = detach_weights

    def _distill(self, batch: Batch, teacher: Tensor) -> Tensor:
        """MBD from the teacher's logits ``[b, q]`` to the student's, mean over images."""
        student = batch.student.logits
        if self.softmax:
            ours, theirs = ((side / self.temperature).log_softmax(1) for side in (student, teacher.to(student.dtype)))
            return self.temperature**2 * F.kl_div(ours, theirs, reduction="batchmean", log_target=True)
        some = batch.targets.bool().any(1)
        positive = batch.targets[some].bool()
        # In float64: the steep weights magnify rounding, and their part of the gradient nearly cancels the other one.
        log_p = reformulated_softmax(teacher[some].double() / self.temperature, positive)
        log_q = reformulated_softmax(student[some].double() / self.temperature, positive)
        p, q = log_p.exp(), log_q.exp()
        truth = positive.to(p.dtype)
        distance = (1 - self.omega) * truth + self.omega * p - q
        weight = _power(distance, truth * self.gamma_positive + (1 - truth) * self.gamma_negative)
        if self.detach_weights:
            weight = weight.detach()
        total = (weight * p * (log_p - log_q)).sum().to(student.dtype)
        return self.temperature**2 * total / len(student)


@TERMS.register("mbd")
class MBD(_Balanced):
    """Multi-label balanced distillation (Eq. 13-16) from a teacher: a KL divergence of reformulated softmaxes, each
    label weighted by its distance from a mix of truth and teacher, times temperature^2, summed over images.

    The weights are abs((1 - omega) + omega p - q)^gamma_positive for positives, abs(omega p - q)^gamma_negative for
    negatives; gradients flow through them unless ``detach_weights``. An image without a positive counts as 0. The
    weighted sum is 0 where the student equals the teacher, but that is no minimum of it: it can be negative.
    """

    needs = frozenset({"teacher.logits"})

    def mean(self, batch: Batch) -> Tensor:
        assert batch.teacher is not None
        return self._distill(batch, batch.teacher.logits)


@TERMS.register("ssd")
class SSD(_Balanced):
    """Step self-distillation (Eq. 9): MBD from the weights of one step ago on the same input, summed over images."""

    needs = frozenset({"previous.logits"})

    def mean(self, batch: Batch) -> Tensor:
        assert batch.previous is not None
        return self._distill(batch, batch.previous.logits)


def _pseudo_labels(difference: Tensor, beta: int) -> Tensor:
    """1 for the ``beta`` largest entries, -1 for the ``beta`` smallest (Eq. 5), 0 for the others and for those in both.

    All entries equal to the last one belong to it too, so that the order of the batch does not matter.
    """
    if beta == 0:
        return torch.zeros_like(difference)
    ordered = difference.flatten().sort().values
    top, bottom = difference >= ordered[-beta], difference <= ordered[beta - 1]
    return top.to(difference.dtype) - bottom.to(difference.dtype)


@TERMS.register("rsd")
class RSD(_Balanced):
    """Reconstruction self-distillation (Eq. 5-8): MBD from logits rebuilt from the image's patches, summed over images.

    The entries in which a patch exceeds (falls short of) the whole image most, as many in the batch as it has positive
    labels, are marked 1 (-1). The marks are propagated ``rounds`` times between the patches of an image, along edges
    weighted by the distance of their logits; their softmax over patches weights the patches' logits.
    """

    needs = frozenset({"patches.logits"})
    relational = True

    def __init__(
        self,
        form: str = "reference",
        temperature: float = 4.0,
        omega: float = 0.5,
        gamma_positive: float = 0.25,
        gamma_negative: float = 1.0,
        detach_weights: bool = False,
        softmax: bool = False,
        rounds: float = 2,
    ) -> None:
        super().__init__(form, temperature, omega, gamma_positive, gamma_negative, detach_weights, softmax)
        if rounds < 0 or rounds != int(rounds):
            raise UsageError(f"rsd: expected a whole number of rounds, 0 or more, got {rounds}")
        self.rounds = int(rounds)

    def mean(self, batch: Batch) -> Tensor:
        return self._distill(batch, self._rebuilt(batch))

    @torch.no_grad()
    def _rebuilt(self, batch: Batch) -> Tensor:
        """The target logits ``[b, q]``, in float64."""
        assert batch.patches is not None
        patches = batch.patches.logits.double()
        marks = _pseudo_labels(patches - batch.student.logits[:, None], int(batch.targets.bool().sum()))
        distances = distance_matrix(patches)
        largest = distances.amax((1, 2), keepdim=True)
        edges = distances / torch.where(largest > 0, largest, 1)
        edges = edges + torch.eye(patches.shape[1], dtype=edges.dtype, device=edges.device)
        scale = edges.sum(2, keepdim=True).rsqrt()
        step = scale * edges * scale.mT
        weights = (torch.linalg.matrix_power(step, self.rounds) @ marks).softmax(1)
        return (weights * patches).sum(1)


def _over_mean(distances: Tensor) -> Tensor:
    """Matrices ``[..., n, n]`` divided by the mean of their positive entries; zero where there are none."""
    means = distances.sum((-2, -1), keepdim=True) / (distances > 0).sum((-2, -1), keepdim=True).clamp(min=1)
    return distances / torch.where(means > 0, means, 1)


@TERMS.register("lsd")
class LSD(LikeBCE):
    """Locality self-distillation (Eq. 2-4): Huber loss between the distances of regions of the whole image's feature
    map and those of the patches seen alone. Between the patches of each image, and between images (mean over patches);
    each matrix divided by the mean of its positive entries, mean over matrix and images.
    """

    needs = frozenset({"student.regions", "patches.logits"})
    relational = True

    def mean(self, batch: Batch) -> Tensor:
        assert batch.patches is not None
        regions, patches = batch.student.regions, batch.patches.logits
        assert regions is not None

        def unlike(ours: Tensor, theirs: Tensor) -> Tensor:
            return F.huber_loss(_over_mean(distance_matrix(ours)), _over_mean(distance_matrix(theirs)))

        # A mean, and printed so beside sums over the images.
        return (unlike(regions, patches) + unlike(regions.mean(1), patches.mean(1))) / len(regions)


# The paper's weights (figure 4). Its overall loss sums BCE, RSD and SSD over the images of the batch.
add_method(
    Method(
        "mskd",
        "Wang et al., Multi-label Self Knowledge Distillation, AAAI 2025",
        "no teacher: follows its own view of image patches and its weights of one step ago",
        {"bce": 1, "lsd": 1.5, "rsd": 2, "ssd": 2},
    )
)
