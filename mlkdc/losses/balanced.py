"""Balanced distillation of label distributions (MSKD, Wang et al., AAAI 2025, Eq. 13-16)."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.batch import Batch
from mlkdc.losses.common import LikeBCE, only
from mlkdc.losses.options import TermOptions


def reformulated_softmax(logits: Tensor, positive: Tensor) -> Tensor:
    """The mean, over an image's true positives t, of the softmax over t and the true negatives (Eq. 13).

    Eq. 13 as printed divides a positive by the other positives' denominators too, which can exceed 1.

    Args:
        logits: ``[b, q]``.
        positive: ``[b, q]`` bool, at least one in every row.

    Returns:
        ``[b, q]`` log-probabilities; the probabilities of a row sum to 1.
    """
    negatives = only(~positive, logits).logsumexp(1, keepdim=True)
    of_positive = F.logsigmoid(logits - negatives)
    # A negative's probabilities over t differ in their denominators only.
    denominators = only(positive, -torch.logaddexp(logits, negatives)).logsumexp(1, keepdim=True)
    return torch.where(positive, of_positive, logits + denominators) - positive.sum(1, keepdim=True).log()


#: Differences of probabilities that stem from float32 logits are not known better than this.
ROUNDING = 1e-6


def _power(value: Tensor, exponent: Tensor) -> Tensor:
    """abs(value)^exponent, with gradient 0 where value is no more than rounding: there the derivative for an exponent
    below 1 grows without bound, and its sign is noise.
    """
    size = value.abs()
    certain = size > ROUNDING
    # Two steps, because torch.where multiplies the gradient of the side not taken by 0, and 0 * inf is NaN.
    return torch.where(certain, torch.where(certain, size, 1) ** exponent, size.detach() ** exponent)


class BalancedOptions(TermOptions):
    """The options of every term that distills so."""

    temperature: float = Field(4.0, gt=0, description="softens both sides")
    omega: float = Field(0.5, ge=0, le=1, description="the teacher's part in the mix with the truth")
    gamma_positive: float = Field(0.25, ge=0, description="exponent of a positive label's weight")
    gamma_negative: float = Field(1.0, ge=0, description="exponent of a negative label's weight")
    detach_weights: bool = Field(False, description="hold the weights fixed in the backward pass")
    softmax: bool = Field(False, description="plain softmaxes over all labels, without weights (table 3's other rows)")


class Balanced(LikeBCE):
    """What MBD and the terms built on it share.

    ``printed``: summed over images, as the overall loss is printed next to a summed BCE; ``paper``: that divided by b.
    There is no ``reference``: the authors' code stops with an index error in this loss.
    """

    forms = ("paper", "printed")
    Options = BalancedOptions
    options: BalancedOptions

    def distill(self, batch: Batch, teacher: Tensor) -> Tensor:
        """MBD (see the term ``mbd``) from the teacher's logits ``[b, q]`` to the student's, mean over images."""
        temperature, omega = self.options.temperature, self.options.omega
        student = batch.student.logits
        if self.options.softmax:
            log_q = (student / temperature).log_softmax(1)
            log_p = (teacher.to(student.dtype) / temperature).log_softmax(1)
            return temperature**2 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
        with_positive = batch.targets.bool().any(1)
        positive = batch.targets[with_positive].bool()
        # In float64: the steep weights magnify rounding, and their part of the gradient nearly cancels the other one.
        log_p = reformulated_softmax(teacher[with_positive].double() / temperature, positive)
        log_q = reformulated_softmax(student[with_positive].double() / temperature, positive)
        p, q = log_p.exp(), log_q.exp()
        truth = positive.to(p.dtype)
        distance = (1 - omega) * truth + omega * p - q
        exponent = truth * self.options.gamma_positive + (1 - truth) * self.options.gamma_negative
        weight = _power(distance, exponent)
        if self.options.detach_weights:
            weight = weight.detach()
        total = (weight * p * (log_p - log_q)).sum().to(student.dtype)
        return temperature**2 * total / len(student)
