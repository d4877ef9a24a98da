"""Multi-label self knowledge distillation (MSKD), Wang et al., AAAI 2025: LSD, RSD, SSD and their loss MBD."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.batch import Batch
from mlkdc.losses.common import LikeBCE, only
from mlkdc.losses.options import TermOptions
from mlkdc.losses.pairs import distance_matrix
from mlkdc.losses.term import TERMS


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


#: Differences of probabilities that stem from float32 logits are not known better than this.
ROUNDING = 1e-6


def _power(value: Tensor, exponent: Tensor) -> Tensor:
    """abs(value)^exponent, with gradient 0 where value is no more than rounding: there the derivative for an exponent
    below 1 grows without bound, and its sign is noise.
    """
    size = value.abs()
    certain = size > ROUNDING
    # Two steps, because torch.where multiplies the gradient of the side not taken by 0, and 0 * inf is NaN.
    return torch.where(certain, torch.where(certain, size, 1) ** exponent, size.detach() ** exponent)


class BalancedOptions(TermOptions):
    """Of the balanced distillation that :class:`MBD` and the terms built on it share."""

    temperature: float = Field(4.0, gt=0, description="softens both sides")
    omega: float = Field(0.5, ge=0, le=1, description="the teacher's part in the mix with the truth")
    gamma_positive: float = Field(0.25, ge=0, description="exponent of a positive label's weight")
    gamma_negative: float = Field(1.0, ge=0, description="exponent of a negative label's weight")
    detach_weights: bool = Field(False, description="hold the weights fixed in the backward pass")
    softmax: bool = Field(False, description="plain softmaxes over all labels, without weights (table 3's other rows)")


class _Balanced(LikeBCE):
    """What :class:`MBD` and the terms built on it share.

    ``reference``: summed over images, as the overall loss is printed next to a summed BCE; ``paper``: that divided by
    b.
    """

    Options = BalancedOptions
    options: BalancedOptions

    def _distill(self, batch: Batch, teacher: Tensor) -> Tensor:
        """MBD from the teacher's logits ``[b, q]`` to the student's, mean over images."""
        temperature, omega = self.options.temperature, self.options.omega
        student = batch.student.logits
        if self.options.softmax:
            log_q = (student / temperature).log_softmax(1)
            log_p = (teacher.to(student.dtype) / temperature).log_softmax(1)
            return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
        with_positive = batch.targets.bool().any(1)
        positive = batch.targets[with_positive].bool()
        # In float64: the steep weights magnify rounding, and their part of the gradient nearly cancels the other one.
        log_p = reformulated_softmax(teacher[with_positive].double() / temperature, positive)
        log_q = reformulated_softmax(student[with_positive].double() / temperature, positive)
        p, q = log_p.exp(), log_q.exp()
        truth = positive.to(p.dtype)
        distance = (1 - omega) * truth + omega * p - q
        exponent = truth * self.options.gamma_positive + (1 - truth) * self.options.gamma_negative
        weight = _power(distance, exponent)
        if self.options.detach_weights:
            weight = weight.detach()
        total = (weight * p * (log_p - log_q)).sum().to(student.dtype)
        return temperature**2 * total / len(student)


@TERMS.register("mbd")
class MBD(_Balanced):
    """Multi-label balanced distillation (Eq. 13-16) from a teacher: a weighted KL of reformulated softmaxes P and Q.

    ``L = c T^2 / b * sum_ik w_ik P_ik (log P_ik - log Q_ik), with P of t / T and Q of s / T``

    The weights are w = abs((1 - omega) + omega P - Q)^gamma_positive for positives, abs(omega P - Q)^gamma_negative for
    negatives; gradients flow through them unless ``detach_weights``. An image without a positive counts as 0. The
    weighted sum is 0 where the student equals the teacher, but that is no minimum of it: it can be negative. c as in
    :class:`LikeBCE`.

    Args:
        form: ``reference`` or ``paper``.
        temperature: T.
        omega: the teacher's part in the mix with the truth.
        gamma_positive: exponent of a positive label's weight.
        gamma_negative: exponent of a negative label's weight.
        detach_weights: hold the weights fixed in the backward pass.
        softmax: take plain softmaxes over all labels, without weights (table 3's other rows).
    """

    needs = frozenset({"teacher.logits"})

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert batch.teacher is not None
        return self._distill(batch, batch.teacher.logits)


@TERMS.register("ssd")
class SSD(_Balanced):
    """Step self-distillation (Eq. 9): MBD from the weights of one step ago on the same input.

    ``L = c T^2 / b * sum_ik w_ik P_ik (log P_ik - log Q_ik), with P of the logits of one step ago``

    Args:
        form: ``reference`` or ``paper``.
        temperature, omega, gamma_positive, gamma_negative, detach_weights, softmax: see :class:`MBD`.
    """

    needs = frozenset({"previous.logits"})

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
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


class RebuiltOptions(BalancedOptions):
    """Of :class:`RSD`."""

    rounds: int = Field(2, ge=0, description="how often marks are propagated between an image's patches")


@TERMS.register("rsd")
class RSD(_Balanced):
    """Reconstruction self-distillation (Eq. 5-8): MBD from logits rebuilt from the image's patches.

    ``L = c T^2 / b * sum_ik w_ik P_ik (log P_ik - log Q_ik), with P of the rebuilt logits``

    The entries in which a patch exceeds (falls short of) the full image most, as many in the batch as it has positive
    labels, are marked 1 (-1). The marks are propagated ``rounds`` times between the patches of an image, along edges
    weighted by the distance of their logits; their softmax over patches weights the patches' logits.

    Args:
        form: ``reference`` or ``paper``.
        temperature, omega, gamma_positive, gamma_negative, detach_weights, softmax: see :class:`MBD`.
        rounds: of propagation, 0 or more.
    """

    Options = RebuiltOptions
    options: RebuiltOptions
    needs = frozenset({"patches.logits"})
    relational = True

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
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
        weights = (torch.linalg.matrix_power(step, self.options.rounds) @ marks).softmax(1)
        rebuilt: Tensor = (weights * patches).sum(1)
        return rebuilt


def _over_mean(distances: Tensor) -> Tensor:
    """Matrices ``[..., n, n]`` divided by the mean of their positive entries; zero where there are none."""
    means = distances.sum((-2, -1), keepdim=True) / (distances > 0).sum((-2, -1), keepdim=True).clamp(min=1)
    return distances / torch.where(means > 0, means, 1)


@TERMS.register("lsd")
class LSD(LikeBCE):
    """Locality self-distillation (Eq. 2-4): regions of the full image's feature map against the patches seen alone.

    ``L = c / b * [H(D(regions), D(patches)) + H(D(mean regions), D(mean patches))], each H a mean``

    D are the distances between the regions (patches) of each image, and between images (of the mean over regions);
    each matrix is divided by the mean of its positive entries. c as in :class:`LikeBCE`.

    Args:
        form: ``reference`` or ``paper``.
    """

    needs = frozenset({"student.regions", "patches.logits"})
    relational = True

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert batch.patches is not None
        regions, patches = batch.student.regions, batch.patches.logits
        assert regions is not None
        within = _unlike(regions, patches)
        between = _unlike(regions.mean(1), patches.mean(1))
        # A mean, and printed so next to sums over the images.
        return (within + between) / len(regions)


def _unlike(student: Tensor, target: Tensor) -> Tensor:
    return F.huber_loss(_over_mean(distance_matrix(student)), _over_mean(distance_matrix(target)))
