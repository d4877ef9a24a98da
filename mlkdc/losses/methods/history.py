"""Learning from one's own earlier predictions: PS-KD (Kim et al., 2021) and DLB (Shen et al., 2022)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.base import TERMS, Batch, Method, add_method
from mlkdc.losses.common import LikeBCE, bernoulli_kl


def _known(logits: Tensor) -> Tensor:
    """``bool[b, 1]``: which rows hold earlier predictions; the others are NaN."""
    return ~logits.isnan().any(dim=1, keepdim=True)


@TERMS.register("pskd")
class PSKD(LikeBCE):
    """Cross-entropy with targets softened by the epoch before (PS-KD): (1 - a) y + a p_last, where a grows linearly
    over training; in place of ``bce``, summed over labels, mean over images.

    Adapted to several labels: binary cross-entropies where the paper has one over classes. An image that was not
    seen in the epoch before keeps its labels. The paper raises a once per epoch, this with every step.

    Args:
        form: see :class:`LikeBCE`.
        alpha: a at the end of training, 0..1.
    """

    needs = frozenset({"last_epoch.logits"})

    def __init__(self, form: str = "reference", alpha: float = 0.8) -> None:
        super().__init__(form)
        self.alpha = alpha

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert batch.last_epoch is not None
        student, last = batch.student.logits, batch.last_epoch.logits
        labels = batch.targets.to(student.dtype)
        earlier = torch.where(_known(last), last.sigmoid(), labels)
        soft = torch.lerp(labels, earlier, self.alpha * batch.progress)
        return F.binary_cross_entropy_with_logits(student, soft, reduction="sum") / len(student)


@TERMS.register("dlb")
class DLB(LikeBCE):
    """KL from the predictions of the step before, on those images that were in it, to the present ones, both
    softened, times temperature**2 (DLB and its release), summed over labels, mean over those images; 0 if none was.

    Adapted to several labels: each label's own distribution where the paper has one over classes. The paper's
    alpha is the weight.

    Args:
        form: see :class:`LikeBCE`; ``reference`` is b times the mean, whatever the number of repeated images.
        temperature: softens both sides.
    """

    needs = frozenset({"last_batch.logits"})

    def __init__(self, form: str = "reference", temperature: float = 3.0) -> None:
        super().__init__(form)
        self.temperature = temperature

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert batch.last_batch is not None
        student, last = batch.student.logits, batch.last_batch.logits
        known = _known(last)
        # Nothing is left out by an index: rows that are not known become equal on both sides, at no distance.
        last, student = (torch.where(known, side, torch.zeros_like(side)) for side in (last, student))
        return bernoulli_kl(last, student, self.temperature).sum() / known.sum().clamp(min=1)


add_method(
    Method(
        "ps-kd",
        "Kim et al., Self-Knowledge Distillation with Progressive Refinement of Targets, ICCV 2021",
        "mixes the last epoch's predictions into the targets, more and more",
        {"pskd": 1},
    )
)
add_method(
    Method(
        "dlb",
        "Shen et al., Self-Distillation from the Last Mini-Batch for Consistency Regularization, CVPR 2022",
        "half of each batch repeats the last one and is matched to its predictions then",
        {"bce": 1, "dlb": 1},
    )
)
