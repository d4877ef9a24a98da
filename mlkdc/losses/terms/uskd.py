"""USKD: soft labels that the student makes for itself (Yang et al., ICCV 2023)."""

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from mlkdc.losses.batch import Batch, Outputs
from mlkdc.losses.common import LikeBCE, only
from mlkdc.losses.gather import gathered
from mlkdc.losses.options import TermOptions
from mlkdc.losses.term import TERMS


def target_labels(logits: Tensor, targets: Tensor) -> Tensor:
    """Soft labels of the true classes: p**2 + 1 - the mean of p**2 over all true (image, class) pairs.

    Their mean is 1; a pair that the student is surer of than usual gets more.

    Args:
        logits: ``[b, q]``.
        targets: ``[b, q]`` of zeros and ones.

    Returns:
        ``[b, q]``, 0 where the class is not true.
    """
    true = targets > 0
    squares = torch.where(true, logits.sigmoid().square(), torch.zeros_like(logits))
    usual = squares.sum() / true.sum().clamp(min=1)
    return torch.where(true, squares + 1 - usual, torch.zeros_like(logits))


def _log_softmax_within(logits: Tensor, mask: Tensor) -> Tensor:
    """Log-softmax of each row over its marked places, 0 elsewhere; ``[b, q]``."""
    return torch.where(mask, only(mask, logits).log_softmax(dim=1), torch.zeros_like(logits))


def nontarget_labels(strong: Tensor, weak: Tensor, targets: Tensor) -> Tensor:
    """Soft labels of the classes that are not true: Zipf's law, 1 / rank divided by its sum, by the rank of the
    sum of both stages' softmax over these classes.

    Args:
        strong: ``[b, q]`` the student's logits.
        weak: ``[b, q]`` logits of the intermediate stage.
        targets: ``[b, q]`` of zeros and ones.

    Returns:
        ``[b, q]``, 0 where the class is true; rows sum to 1 unless all classes are true.
    """
    false = ~(targets > 0)
    # The logarithm of the sum: it ranks also those whose probabilities would round to zero.
    score = torch.logaddexp(_log_softmax_within(strong, false), _log_softmax_within(weak, false))
    score = torch.where(false, score, torch.full_like(score, -torch.inf))
    order = score.argsort(dim=1, descending=True, stable=True)
    zipf = 1 / torch.arange(1, score.shape[1] + 1, device=score.device, dtype=score.dtype)
    labels = torch.zeros_like(score).scatter(1, order, zipf.expand_as(score)) * false
    return labels / labels.sum(dim=1, keepdim=True).clamp(min=1)


@TERMS.register("uskd")
class USKD(LikeBCE):
    """Cross-entropies with soft labels that the student makes for itself (as the release has them).

    ``L = c / b * (alpha * L_target + beta * L_nontarget + mu * L_weak), each a sum over images``

    Adapted to several labels:

    - Target: minus soft label times log p, summed over all true classes of an image, with p the label's
      probability in place of a softmax, and the mean in the soft label over all true pairs of the batch.
    - Non-target: as in the paper a cross-entropy between the soft labels and the student's softmax over the classes
      that are not true; here all true ones are excluded, not one. The rank adds both stages' softmax; the
      release adds one stage's probability and the other's log-probability.
    - Weak: binary cross-entropy of the intermediate stage's logits with labels smoothed to 0.95 and 0.05, summed
      over labels; the paper smooths by 0.1 over the classes.

    No gradient goes through the soft labels. The intermediate stage is the last but one (the last, if there is one
    only), its logits a linear layer on its mean over positions. c as in :class:`LikeBCE`.

    Args:
        form: ``reference`` or ``paper``.
        alpha: of the target part.
        beta: of the non-target part.
        mu: of the weak part.
    """

    class Options(TermOptions):
        """See the class; the release's for ImageNet, all its convolutional students alike."""

        alpha: float = Field(1.0, ge=0, description="weight of the target part")
        beta: float = Field(0.1, ge=0, description="weight of the non-target part")
        mu: float = Field(0.005, ge=0, description="weight of the weak part")

    options: Options
    needs = frozenset({"student.stages"})

    @staticmethod
    def _middle(batch: Batch) -> Tensor:
        stages = batch.student.stages
        assert stages is not None
        return stages[-2:][0]  # where there is only one stage, that one

    def build(self, example: Batch) -> None:
        """The linear layer from the intermediate stage's channels to the labels."""
        self.layers = nn.Linear(self._middle(example).shape[1], example.student.logits.shape[1])

    def _weak_logits(self, batch: Batch) -> Tensor:
        """``[b, q]`` of all processes' images."""
        assert self.layers is not None
        # Feature maps are not gathered, their logits are. The targets only say how many rows there are.
        logits = self.layers(self._middle(batch).mean(dim=(2, 3)))
        return gathered(Batch(logits.detach(), Outputs(logits))).student.logits

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        strong, weak = batch.student.logits, self._weak_logits(batch)
        true = target_labels(strong.detach(), batch.targets)
        false = nontarget_labels(strong.detach(), weak.detach(), batch.targets)
        target = -(true * F.logsigmoid(strong)).sum()
        nontarget = -(false * _log_softmax_within(strong, ~(batch.targets > 0))).sum()
        smooth = 0.9 * batch.targets.to(weak.dtype) + 0.05
        supervision = F.binary_cross_entropy_with_logits(weak, smooth, reduction="sum")
        weights = self.options
        return (weights.alpha * target + weights.beta * nontarget + weights.mu * supervision) / len(strong)
