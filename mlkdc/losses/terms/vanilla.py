"""Training without a teacher."""

from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.batch import Batch
from mlkdc.losses.term import TERMS, Term


@TERMS.register("bce")
class BCE(Term):
    """Binary cross-entropy of the labels (L2D Eq. 1).

    ``L = c * sum_ik BCE(s_ik, y_ik), with c = 1 (reference) or 1 / b (paper)``

    The paper divides the sum by b; the release sums over batch and labels, and L2D's weights of the other
    terms belong to that sum.

    Args:
        form: ``reference`` or ``paper``.
    """

    forms = ("reference", "paper")

    def compute(self, batch: Batch) -> Tensor:
        """See :class:`mlkdc.losses.Term`."""
        logits = batch.student.logits
        total = F.binary_cross_entropy_with_logits(logits, batch.targets.to(logits.dtype), reduction="sum")
        if self.form == "paper":
            return total / len(logits)
        return total
