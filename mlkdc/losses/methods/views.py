"""DDGSD: two random views of each image that teach each other (Xu and Liu, AAAI 2019)."""

from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.base import TERMS, Batch, Method, add_method
from mlkdc.losses.common import LikeBCE


@TERMS.register("twin_bce")
class TwinBCE(LikeBCE):
    """Binary cross-entropy of the second view's logits; in ``reference`` a sum, as ``bce`` is."""

    needs = frozenset({"twin.logits"})

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert batch.twin is not None
        logits = batch.twin.logits
        labels = batch.targets.to(logits.dtype)
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / len(logits)


@TERMS.register("twin_kl")
class TwinKL(LikeBCE):
    """KL between both views' softened predictions, in both directions, times temperature**2, summed over labels,
    mean over images.

    Adapted to several labels: each label's own distribution where the paper has one over classes. Gradients go
    through both sides of both directions; there is no official code, and of two public ones
    (youngerous/ddgsd-pytorch and winycg/Self-KD-Lib) the second holds each direction's target fixed.

    Args:
        form: see :class:`LikeBCE`.
        temperature: softens both sides.
    """

    needs = frozenset({"twin.logits"})

    def __init__(self, form: str = "reference", temperature: float = 3.0) -> None:
        super().__init__(form)
        self.temperature = temperature

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert batch.twin is not None
        first, second = batch.student.logits / self.temperature, batch.twin.logits / self.temperature
        # Both directions together are (p - q)(logit p - logit q): no logarithm, and nothing cancels.
        both = (first.sigmoid() - second.sigmoid()) * (first - second)
        return self.temperature**2 * both.sum() / len(first)


@TERMS.register("mmd")
class MMD(LikeBCE):
    """Squared distance between both views' means of the pooled features over the batch: the maximum mean
    discrepancy with a linear kernel, in squared units of the features.
    """

    needs = frozenset({"student.pooled", "twin.pooled"})
    relational = True

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert batch.twin is not None
        student, twin = batch.student.pooled, batch.twin.pooled
        assert student is not None
        assert twin is not None
        return (student - twin).mean(dim=0).square().sum()


# Lambda 1, mu 0.0005 and temperature 3 as in youngerous/ddgsd-pytorch; winycg/Self-KD-Lib has temperature 4.
add_method(
    Method(
        "ddgsd",
        "Xu and Liu, Data-Distortion Guided Self-Distillation for Deep Neural Networks, AAAI 2019",
        "two random views of each image teach each other",
        {"bce": 1, "twin_bce": 1, "twin_kl": 1, "mmd": 0.0005},
    )
)
