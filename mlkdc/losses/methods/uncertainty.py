"""Uncertainty distillation, Song et al., ACM MM 2021: partial softmax with a teacher, self-distillation without."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mlkdc.losses.base import TERMS, Batch, Method, Term, add_method
from mlkdc.losses.common import bernoulli_kl, only


@TERMS.register("ps")
class PS(Term):
    """KL(teacher || student) after a partial softmax: for each true positive t of an image, a softmax over t and the
    image's true negatives, times temperature^2. Averaged over the positives (the paper's "pick-all-labels normalized"
    loss), mean over the batch; an image without a positive counts as 0.

    ``normalized=False`` sums over the positives, as L2D's release does for its comparison.
    By the chain rule each KL is that of "t or a negative" plus the share of the negatives times that among them, so
    that no ``[b, q, q]`` tensor is needed.
    """

    needs = frozenset({"teacher.logits"})

    def __init__(self, form: str = "reference", temperature: float = 1.0, normalized: bool = True) -> None:
        super().__init__(form)
        self.temperature = temperature
        self.normalized = normalized

    def __call__(self, batch: Batch) -> Tensor:
        assert batch.teacher is not None
        positive = batch.targets.bool()
        student, teacher = batch.student.logits / self.temperature, batch.teacher.logits / self.temperature
        negatives_s, negatives_t = only(~positive, student), only(~positive, teacher)
        # The logit of t against all negatives together.
        lead_s = student - negatives_s.logsumexp(1, keepdim=True)
        lead_t = teacher - negatives_t.logsumexp(1, keepdim=True)
        log_s, log_t = negatives_s.log_softmax(1), negatives_t.log_softmax(1)
        among = (log_t.exp() * (log_t - log_s)).sum(1, keepdim=True)
        each = torch.where(positive, bernoulli_kl(lead_t, lead_s) + (-lead_t).sigmoid() * among, 0).sum(1)
        if self.normalized:
            each = each / positive.sum(1).clamp(min=1)
        return self.temperature**2 * each.mean()


@TERMS.register("ud")
class UD(Term):
    """Uncertainty-weighted self-distillation: sum over labels of u KL(p || p_S), mean over the batch, where p is the
    mean probability of the dropout draws of the student's own head and u its entropy in bits, 0..1.

    An adaptation. In the paper a calibrated network, trained before, teaches a student which labels are uncertain. Here
    the student under dropout is that calibrated network: its mean prediction is the soft target, and the predictive
    entropy gives the weight to the difficult labels, which are held to what the draws support, while labels all draws
    agree on are left to BCE. Left out: the second network and its training, and the distillation of attention maps.
    """

    needs = frozenset({"samples.logits"})

    def __call__(self, batch: Batch) -> Tensor:
        assert batch.samples is not None
        samples, student = batch.samples.logits, batch.student.logits
        draws = math.log(samples.shape[1])
        yes, no = F.logsigmoid(samples).logsumexp(1) - draws, F.logsigmoid(-samples).logsumexp(1) - draws
        p_yes, p_no = yes.exp(), no.exp()
        entropy = -(p_yes * yes + p_no * no) / math.log(2)
        divergence = p_yes * (yes - F.logsigmoid(student)) + p_no * (no - F.logsigmoid(-student))
        return (entropy * divergence).sum() / len(student)


PAPER = (
    "Song et al., Handling Difficult Labels for Multi-label Image Classification via Uncertainty Distillation, "
    "ACM MM 2021"
)

# 10 is L2D's weight of its logit term, which like these is a mean over the batch beside a summed BCE.
add_method(
    Method("ps", PAPER, "matches the teacher's softmax over each positive and the negatives", {"bce": 1, "ps": 10})
)
add_method(
    Method("ud", PAPER, "no teacher: follows its own mean over dropout draws on uncertain labels", {"bce": 1, "ud": 10})
)
