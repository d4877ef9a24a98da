"""Training without a teacher."""

from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.base import TERMS, Batch, Method, Term, add_method


@TERMS.register("bce")
class BCE(Term):
    """Binary cross-entropy of the labels (L2D Eq. 1).

    The paper divides the sum by b; the release sums over batch and labels, and L2D's weights of the other
    terms belong to that sum.
    """

    forms = ("reference", "paper")

    def __call__(self, batch: Batch) -> Tensor:
        logits = batch.student.logits
        total = F.binary_cross_entropy_with_logits(logits, batch.targets.to(logits.dtype), reduction="sum")
        return total / len(logits) if self.form == "paper" else total


add_method(Method("vanilla", "-", "binary cross-entropy alone, no teacher", {"bce": 1}))
