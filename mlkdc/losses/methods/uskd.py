"""USKD: soft labels that the student makes for itself (Yang et al., ICCV 2023)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlkdc.losses.base import TERMS, Batch, Method, Outputs, add_method
from mlkdc.losses.common import LikeBCE, only
from mlkdc.losses.gather import gathered


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
    """alpha * target part + beta * non-target part + mu * weak part (as the release has them), mean over images.

    Adapted to several labels:

    - Target: minus soft label times log p, summed over all true classes of an image, with p the label's own
      probability in place of a softmax, and the mean in the soft label over all true pairs of the batch.
    - Non-target: as in the paper a cross-entropy between the soft labels and the student's softmax over the classes
      that are not true; here all true ones are left out of it, not one. The rank adds both stages' softmax; the
      release adds one stage's probability and the other's log-probability.
    - Weak: binary cross-entropy of the intermediate stage's logits with labels smoothed to 0.95 and 0.05, summed
      over labels; the paper smooths by 0.1 over the classes.

    No gradient goes through the soft labels. The intermediate stage is the last but one (the last, if there is one
    only), its logits a linear layer on its mean over positions.

    Args:
        form: see :class:`LikeBCE`.
        alpha: of the target part.
        beta: of the non-target part.
        mu: of the weak part.
    """

    needs = frozenset({"student.stages"})

    def __init__(self, form: str = "reference", alpha: float = 1.0, beta: float = 0.1, mu: float = 0.005) -> None:
        super().__init__(form)
        self.alpha = alpha
        self.beta = beta
        self.mu = mu

    @staticmethod
    def _middle(batch: Batch) -> Tensor:
        stages = batch.student.stages
        assert stages is not None
        return stages[-2] if len(stages) > 1 else stages[-1]

    def build(self, example: Batch) -> None:
        """The linear layer from the intermediate stage's channels to the labels."""
        self.layers = nn.Linear(self._middle(example).shape[1], example.student.logits.shape[1])

    def _weak_logits(self, batch: Batch) -> Tensor:
        """``[b, q]``; feature maps are this process's own, so their logits are what is gathered."""
        assert self.layers is not None
        own = self.layers(self._middle(batch).mean(dim=(2, 3)))
        return gathered(Batch(own.detach(), Outputs(own))).student.logits

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        strong, weak = batch.student.logits, self._weak_logits(batch)
        true = target_labels(strong.detach(), batch.targets)
        other = nontarget_labels(strong.detach(), weak.detach(), batch.targets)
        target = -(true * F.logsigmoid(strong)).sum()
        nontarget = -(other * _log_softmax_within(strong, ~(batch.targets > 0))).sum()
        smooth = 0.9 * batch.targets.to(weak.dtype) + 0.05
        supervision = F.binary_cross_entropy_with_logits(weak, smooth, reduction="sum")
        return (self.alpha * target + self.beta * nontarget + self.mu * supervision) / len(strong)


# alpha, beta and mu are the release's for ImageNet, all its convolutional students alike.
add_method(
    Method(
        "uskd",
        "Yang et al., From Knowledge Distillation to Self-Knowledge Distillation, ICCV 2023",
        "soft labels from the student's own probabilities and the ranks of an intermediate stage",
        {"bce": 1, "uskd": 1},
    )
)
