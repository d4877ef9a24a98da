"""What loss terms of several papers share."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.base import Batch, Term


class LikeBCE(Term):
    """A term in the two forms of ``bce``, so that its paper's weight beside a cross-entropy holds in both.

    ``paper``: what stands beside a mean over images. ``reference``: b times it, as the ``bce`` of that form is a sum
    over the b images.
    """

    forms = ("reference", "paper")

    @abstractmethod
    def mean(self, batch: Batch) -> Tensor:
        """The value that belongs beside a mean over images, a scalar."""

    def __call__(self, batch: Batch) -> Tensor:
        value = self.mean(batch)
        return value if self.form == "paper" else len(batch.targets) * value


def bernoulli_kl(first: Tensor, second: Tensor, temperature: float = 1.0) -> Tensor:
    """``temperature**2 * KL(first || second)`` of Bernoulli distributions softened by the temperature.

    The factor keeps the gradient's size independent of the temperature (Hinton et al., 2015).

    Args:
        first: logits, any shape.
        second: logits, the same shape; here the gradient of a soft target's KL is wanted.
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
