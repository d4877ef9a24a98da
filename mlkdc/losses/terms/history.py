"""Learning from the student's earlier predictions: PS-KD (Kim et al., 2021) and DLB (Shen et al., 2022)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.batch import Batch
from mlkdc.losses.common import LikeBCE, bernoulli_kl
from mlkdc.losses.options import TermOptions
from mlkdc.losses.term import TERMS


def _seen_before(logits: Tensor) -> Tensor:
    """``bool[b, 1]``: which rows hold earlier predictions; the others are NaN."""
    return ~logits.isnan().any(dim=1, keepdim=True)


@TERMS.register("pskd")
class PSKD(LikeBCE):
    """Cross-entropy with targets softened by the epoch before (PS-KD); in place of ``bce``.

    ``L = c / b * sum_ik BCE(s_ik, (1 - a) y_ik + a p_last,ik), with a = alpha * progress``

    Adapted to several labels: binary cross-entropies where the paper has one over classes. An image that was not
    seen in the epoch before keeps its labels. The paper raises a once per epoch, this with every step; c as in
    :class:`LikeBCE`.

    Args:
        form: ``reference`` or ``paper``.
        alpha: a at the end of training.
    """

    class Options(TermOptions):
        """See the class."""

        alpha: float = Field(0.8, ge=0, le=1, description="weight of the earlier predictions at the end of training")

    options: Options
    needs = frozenset({"last_epoch.logits"})

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert batch.last_epoch is not None
        student, last = batch.student.logits, batch.last_epoch.logits
        labels = batch.targets.to(student.dtype)
        # An image that is new to the student has nothing to mix in but its labels.
        earlier = torch.where(_seen_before(last), last.sigmoid(), labels)
        soft = torch.lerp(labels, earlier, self.options.alpha * batch.progress)
        return F.binary_cross_entropy_with_logits(student, soft, reduction="sum") / len(student)


@TERMS.register("dlb")
class DLB(LikeBCE):
    """KL from the predictions of the step before to the present ones, on the images R that were in it (DLB).

    The images of R come in another view than then, as in the authors' code.

    ``L = c T^2 / |R| * sum_{i in R, k} KL(p_last,ik(T) || p_S,ik(T)), 0 if R is empty``

    Adapted to several labels: each label's distribution where the paper has one over classes. The factor T^2 is the
    release's; the paper's alpha is the weight; c as in :class:`LikeBCE`, whatever the number of repeated images.

    Args:
        form: ``reference`` or ``paper``.
        temperature: T, divides the logits of both sides.
    """

    class Options(TermOptions):
        """See the class."""

        temperature: float = Field(3.0, gt=0, description="softens both sides")

    options: Options
    needs = frozenset({"last_batch.logits"})

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert batch.last_batch is not None
        repeated = _seen_before(batch.last_batch.logits)
        # No row is dropped by an index, which would have to wait for the GPU: rows of new images become equal on both
        # sides, at no distance.
        student = torch.where(repeated, batch.student.logits, 0)
        last = torch.where(repeated, batch.last_batch.logits, 0)
        divergence = bernoulli_kl(last, student, self.options.temperature)
        return divergence.sum() / repeated.sum().clamp(min=1)
