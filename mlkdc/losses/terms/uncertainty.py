"""Uncertainty distillation, Song et al., ACM MM 2021: partial softmax with a teacher, self-distillation without."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.batch import Batch
from mlkdc.losses.common import bernoulli_kl, only
from mlkdc.losses.options import TermOptions
from mlkdc.losses.term import TERMS, Term


@TERMS.register("ps")
class PS(Term):
    """KL(teacher || student) after a partial softmax, over each true positive k of an image and its true negatives.

    ``L = T^2 / b * sum_i 1 / n_i * sum_k KL(softmax_k(t_i / T) || softmax_k(s_i / T)), over the n_i labels of image i``

    The mean over the positives is the paper's "pick-all-labels normalized" loss; an image without a positive counts
    as 0. By the chain rule each KL is that of "k or a negative" plus the negatives' probability times that among them,
    so that no ``[b, q, q]`` tensor is needed.

    Args:
        temperature: T, divides the logits of both sides.
        normalized: False drops the factor 1 / n_i, as L2D's release does for its comparison.
    """

    class Options(TermOptions):
        """See the class."""

        RENAMED: ClassVar[Mapping[str, str]] = {"normalised": "normalized"}

        temperature: float = Field(1.0, gt=0, description="softens both sides")
        normalized: bool = Field(True, description="mean over an image's positives; false = sum")

    options: Options
    needs = frozenset({"teacher.logits"})

    def compute(self, batch: Batch) -> Tensor:
        """See :class:`mlkdc.losses.Term`."""
        assert batch.teacher is not None
        temperature = self.options.temperature
        positive = batch.targets.bool()
        student, teacher = batch.student.logits / temperature, batch.teacher.logits / temperature
        negatives_s, negatives_t = only(~positive, student), only(~positive, teacher)
        # The logit of k against all negatives together.
        lead_s = student - negatives_s.logsumexp(1, keepdim=True)
        lead_t = teacher - negatives_t.logsumexp(1, keepdim=True)
        log_s, log_t = negatives_s.log_softmax(1), negatives_t.log_softmax(1)
        among = (log_t.exp() * (log_t - log_s)).sum(1, keepdim=True)
        divergence = bernoulli_kl(lead_t, lead_s) + (-lead_t).sigmoid() * among
        by_image = torch.where(positive, divergence, 0).sum(1)
        if self.options.normalized:
            by_image = by_image / positive.sum(1).clamp(min=1)
        return temperature**2 * by_image.mean()


@TERMS.register("ud")
class UD(Term):
    """Uncertainty-weighted self-distillation from the mean probability p of dropout draws of the student's head.

    ``L = 1 / b * sum_ik u_ik KL(p_ik || p_S,ik), with u the entropy of p in bits, 0..1``

    An adaptation. In the paper a calibrated network, trained before, teaches a student which labels are uncertain. Here
    the student under dropout is that calibrated network: its mean prediction is the soft target, and the predictive
    entropy gives the weight to the difficult labels, which are held to what the draws support, while labels all draws
    agree on are left to BCE. Not adopted: the second network and its training, and the distillation of attention maps.
    No arguments.
    """

    needs = frozenset({"samples.logits"})
    uses_labels = False

    def compute(self, batch: Batch) -> Tensor:
        """See :class:`mlkdc.losses.Term`."""
        assert batch.samples is not None
        samples, student = batch.samples.logits, batch.student.logits
        # In logarithms, so that a mean of probabilities next to 0 or 1 keeps its digits.
        draws = math.log(samples.shape[1])
        yes, no = F.logsigmoid(samples).logsumexp(1) - draws, F.logsigmoid(-samples).logsumexp(1) - draws
        p_yes, p_no = yes.exp(), no.exp()
        entropy = -(p_yes * yes + p_no * no) / math.log(2)
        divergence = p_yes * (yes - F.logsigmoid(student)) + p_no * (no - F.logsigmoid(-student))
        return (entropy * divergence).sum() / len(student)
