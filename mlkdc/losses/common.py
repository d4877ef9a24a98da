"""What loss terms of several papers share."""

from abc import abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.batch import Batch
from mlkdc.losses.term import Term
from mlkdc.recipe import Form


class LikeBCE(Term):
    """A term in the two forms of ``bce``, so that its paper's weight next to a cross-entropy holds in both.

    ``L = c * M, with M a value that belongs next to a mean over images``

    c is b in form ``reference`` (or ``printed``), as the ``bce`` of that form is a sum over the b images, and 1 in
    form ``paper``.

    Args:
        form: ``reference`` or ``paper``, or as the term's ``forms`` say.
    """

    forms: ClassVar[tuple[Form, ...]] = ("reference", "paper")

    @abstractmethod
    def mean(self, batch: Batch) -> Tensor:
        """M, a scalar."""

    def compute(self, batch: Batch) -> Tensor:
        """See :class:`mlkdc.losses.Term`."""
        value = self.mean(batch)
        if self.form == "paper":
            return value
        return len(batch.targets) * value


def bernoulli_kl(first: Tensor, second: Tensor, temperature: float = 1.0) -> Tensor:
    """``temperature**2 * KL(first || second)`` of Bernoulli distributions softened by the temperature.

    The factor keeps the gradient's size independent of the temperature (Hinton et al., 2015).

    Args:
        first: logits, any shape.
        second: logits, the same shape; the gradient of a soft target's KL arrives at these.
        temperature: divides both logits, above 0.

    Returns:
        The divergences in nats, the same shape.
    """
    first, second = first / temperature, second / temperature
    # From logits: log(1 - sigmoid(z)) is logsigmoid(-z), exact where 1 - sigmoid(z) rounds to 0.
    positive = first.sigmoid() * (F.logsigmoid(first) - F.logsigmoid(second))
    negative = (-first).sigmoid() * (F.logsigmoid(-first) - F.logsigmoid(-second))
    return temperature**2 * (positive + negative)


def only(mask: Tensor, logits: Tensor) -> Tensor:
    """Logits with the others so low that a softmax or logsumexp does not see them.

    Finite, so that a row without any keeps finite values and gradients; low enough to swamp any logit.
    """
    return torch.where(mask, logits, torch.finfo(logits.dtype).min / 4)
