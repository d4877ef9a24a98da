"""Training without a teacher."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mlkdc.errors import UsageError
from mlkdc.losses.batch import Batch
from mlkdc.losses.options import TermOptions
from mlkdc.losses.term import TERMS, Term

#: Positives of very few images do not count more than this, and those of nearly all images not less than its inverse.
LARGEST_WEIGHT = 20.0


@TERMS.register("bce")
class BCE(Term):
    """Binary cross-entropy of the labels (L2D Eq. 1).

    ``L = c * sum_ik BCE(s_ik, y_ik), with c = 1 (reference) or 1 / b (paper)``

    The paper divides the sum by b; the release sums over batch and labels, and L2D's weights of the other
    terms belong to that sum.

    Args:
        form: ``reference`` or ``paper``.
        smoothing: moves labels towards one half: y becomes y (1 - smoothing) + smoothing / 2. A positive weight is that
            of the label, not of what smoothing adds to one that is absent.
        positive_weight: exponent x; the positive part of label k is weighted by (negatives / positives)^x of the
            training images, from 1/20 to 20; 0 = not weighted.
    """

    class Options(TermOptions):
        """See the class."""

        smoothing: float = Field(0.0, ge=0, lt=1, description="moves labels towards one half")
        positive_weight: float = Field(
            0.0, ge=0, le=1, description="exponent of negatives / positives, the weight of positive labels; 0 = 1"
        )

    options: Options
    forms = ("reference", "paper")
    soft_labels = True

    def compute(self, batch: Batch) -> Tensor:
        """See :class:`mlkdc.losses.Term`."""
        logits = batch.student.logits
        labels = batch.targets.to(logits.dtype)
        weights = self._positive_weights(batch) if self.options.positive_weight else None
        total = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum", pos_weight=weights)
        if smoothing := self.options.smoothing:
            # The cross-entropy is linear in the label.
            even = F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, 0.5), reduction="sum")
            total = (1 - smoothing) * total + smoothing * even
        if self.form == "paper":
            return total / len(logits)
        return total

    def _positive_weights(self, batch: Batch) -> Tensor:
        """``[q]``; a label of no training image has the largest."""
        if batch.frequency is None:
            raise UsageError(
                "bce.positive_weight needs how often each label occurs in training; "
                "call compute(Batch(..., frequency=...)) with a fraction for each label"
            )
        frequency = batch.frequency.to(batch.student.logits.dtype)
        odds = (1 - frequency) / frequency
        return (odds**self.options.positive_weight).clamp(1 / LARGEST_WEIGHT, LARGEST_WEIGHT)
