"""Multi-label self knowledge distillation (MSKD), Wang et al., AAAI 2025: LSD, RSD, SSD and their loss MBD.

The paper is followed, not its code, which does not run: MBD stops with an index error, marks are multiplied by 1e7 in
the propagation, and RoI pooling meets a map of one position on MobileNet. It also averages the BCE over the labels, has
weight 1 on all terms, marks S times as many entries, builds RSD's edges from the regions, leaves out LSD's distances
between images, and compares SSD with another batch.
"""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.balanced import Balanced, BalancedOptions
from mlkdc.losses.batch import Batch
from mlkdc.losses.common import LikeBCE
from mlkdc.losses.pairs import distance_matrix
from mlkdc.losses.term import TERMS


@TERMS.register("mbd")
class MBD(Balanced):
    """Multi-label balanced distillation (Eq. 13-16) from a teacher: a weighted KL of reformulated softmaxes P and Q.

    ``L = c T^2 / b * sum_ik w_ik P_ik (log P_ik - log Q_ik), with P of t / T and Q of s / T``

    The weights are w = abs((1 - omega) + omega P - Q)^gamma_positive for positives, abs(omega P - Q)^gamma_negative for
    negatives; gradients flow through them unless ``detach_weights``. An image without a positive counts as 0. The
    weighted sum is 0 where the student equals the teacher, but that is no minimum of it: it can be negative. c as in
    :class:`LikeBCE`.

    Args:
        form: ``printed`` or ``paper``.
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
        return self.distill(batch, batch.teacher.logits)


@TERMS.register("ssd")
class SSD(Balanced):
    """Step self-distillation (Eq. 9): MBD from the weights of one step ago on the same input.

    ``L = c T^2 / b * sum_ik w_ik P_ik (log P_ik - log Q_ik), with P of the logits of one step ago``

    Args:
        form: ``printed`` or ``paper``.
        temperature, omega, gamma_positive, gamma_negative, detach_weights, softmax: see :class:`MBD`.
    """

    needs = frozenset({"previous.logits"})

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert batch.previous is not None
        return self.distill(batch, batch.previous.logits)


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
class RSD(Balanced):
    """Reconstruction self-distillation (Eq. 5-8): MBD from logits rebuilt from the image's patches.

    ``L = c T^2 / b * sum_ik w_ik P_ik (log P_ik - log Q_ik), with P of the rebuilt logits``

    The entries in which a patch exceeds (falls short of) the full image most, as many in the batch as it has positive
    labels, are marked 1 (-1). The marks are propagated ``rounds`` times between the patches of an image, along edges
    weighted by the distance of their logits; their softmax over patches weights the patches' logits.

    Args:
        form: ``printed`` or ``paper``.
        temperature, omega, gamma_positive, gamma_negative, detach_weights, softmax: see :class:`MBD`.
        rounds: of propagation, 0 or more.
    """

    Options = RebuiltOptions
    options: RebuiltOptions
    needs = frozenset({"patches.logits"})
    relational = True

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        return self.distill(batch, self._rebuilt(batch))

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
        form: ``printed`` or ``paper``.
    """

    needs = frozenset({"student.regions", "patches.logits"})
    relational = True
    soft_labels = True
    forms = ("paper", "printed")

    @property
    def batch_degree(self) -> int:
        """See :class:`mlkdc.losses.Term`."""
        # Each H is a mean, also where it stands next to sums.
        return super().batch_degree - 1

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
