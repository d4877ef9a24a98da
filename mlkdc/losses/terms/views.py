"""DDGSD: two random views of each image that teach each other (Xu and Liu, AAAI 2019)."""

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.batch import Batch
from mlkdc.losses.common import LikeBCE
from mlkdc.losses.options import TermOptions
from mlkdc.losses.term import TERMS


@TERMS.register("twin_bce")
class TwinBCE(LikeBCE):
    """Binary cross-entropy of the second view's logits s'; in ``reference`` a sum, as ``bce`` is.

    ``L = c / b * sum_ik BCE(s'_ik, y_ik)``

    c as in :class:`LikeBCE`.

    Args:
        form: ``reference`` or ``paper``.
    """

    needs = frozenset({"twin.logits"})
    soft_labels = True

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert batch.twin is not None
        logits = batch.twin.logits
        labels = batch.targets.to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / len(logits)


@TERMS.register("twin_kl")
class TwinKL(LikeBCE):
    """KL between both views' softened predictions p and p', in both directions.

    ``L = c T^2 / b * sum_ik [KL(p_ik(T) || p'_ik(T)) + KL(p'_ik(T) || p_ik(T))]``

    Adapted to several labels: each label's distribution where the paper has one over classes. Gradients go
    through both sides of both directions; there is no official code, and of two public ones
    (youngerous/ddgsd-pytorch and winycg/Self-KD-Lib) the second holds each direction's target fixed, and the first
    averages over the classes, where this is a sum over labels next to that of ``bce``. c as in :class:`LikeBCE`.

    Args:
        form: ``reference`` or ``paper``.
        temperature: T, divides the logits of both sides.
    """

    class Options(TermOptions):
        """See the class."""

        temperature: float = Field(3.0, gt=0, description="softens both sides")

    options: Options
    needs = frozenset({"twin.logits"})
    soft_labels = True

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert batch.twin is not None
        temperature = self.options.temperature
        first, second = batch.student.logits / temperature, batch.twin.logits / temperature
        # Both directions together are (p - q)(logit p - logit q): no logarithm, and nothing cancels.
        both = (first.sigmoid() - second.sigmoid()) * (first - second)
        return temperature**2 * both.sum() / len(first)


@TERMS.register("mmd")
class MMD(LikeBCE):
    """Squared distance between both views' means of the pooled features f and f' over the batch.

    ``L = c * |1 / b * sum_i (f_i - f'_i)|^2``

    The maximum mean discrepancy with a linear kernel, in squared units of the features: a sum over the channels, where
    the public codes have the mean square of the logits' difference, or the square of one mean over all features. c as
    in :class:`LikeBCE`.

    Args:
        form: ``reference`` or ``paper``.
    """

    needs = frozenset({"student.pooled", "twin.pooled"})
    soft_labels = True
    relational = True

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert batch.twin is not None
        student, twin = batch.student.pooled, batch.twin.pooled
        assert student is not None
        assert twin is not None
        return (student - twin).mean(dim=0).square().sum()
