"""Losses of the labels that can stand in place of ``bce`` (``distill.base``): ASL, focal, two-way and ZLPR."""

from pydantic import Field
from timm.loss.two_way_loss import TwoWayLoss
from timm.loss.zlpr_loss import ZlprLoss
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from mlkdc.losses.batch import Batch
from mlkdc.losses.common import LikeBCE
from mlkdc.losses.options import TermOptions
from mlkdc.losses.term import TERMS

#: An exponent below 1 has no finite derivative at 0: what it raises is kept this far away.
_LEAST = 1e-12


@TERMS.register("asl")
class ASL(LikeBCE):
    """Asymmetric loss (Ridnik et al., ICCV 2021, Eq. 4-7): easy negatives count little, the easiest not at all.

    ``L = -c / b * sum_ik [y_ik (1 - p_ik)^g+ log p_ik + (1 - y_ik) m_ik^g- log(1 - m_ik)], m = max(p - clip, 0)``

    Value and defaults of ``timm.loss.AsymmetricLossMultiLabel``, soft labels included. Not that class: it holds
    probabilities above 1e-8, so that a label missed by a logit below -18 gets no gradient any more. c as in
    :class:`LikeBCE`.

    Args:
        form: ``reference`` or ``paper``.
        gamma_positive: g+, exponent of a positive label's weight.
        gamma_negative: g-, exponent of a negative label's weight.
        clip: taken off the probability of negatives.
    """

    class Options(TermOptions):
        """See the class."""

        gamma_positive: float = Field(1.0, ge=0, description="exponent of a positive label's weight")
        gamma_negative: float = Field(4.0, ge=0, description="exponent of a negative label's weight")
        clip: float = Field(0.05, ge=0, lt=1, description="taken off the probability of negatives")

    options: Options
    soft_labels = True

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        logits, options = batch.student.logits, self.options
        labels = batch.targets.to(logits.dtype)
        shifted = (logits.sigmoid() - options.clip).clamp(min=0)
        log_no = F.logsigmoid(-logits)
        if options.clip:
            log_no = (-shifted).log1p()
        entropy = -(labels * F.logsigmoid(logits) + (1 - labels) * log_no)
        # Both of them 1 minus the probability of the truth, without the subtraction that leaves few digits.
        missed = labels * (-logits).sigmoid() + (1 - labels) * shifted
        exponent = labels * options.gamma_positive + (1 - labels) * options.gamma_negative
        return (missed.clamp(min=_LEAST) ** exponent * entropy).sum() / len(logits)


@TERMS.register("focal")
class Focal(LikeBCE):
    """Focal loss of every label (Lin et al., ICCV 2017, Eq. 5), torchvision's ``sigmoid_focal_loss``.

    ``L = -c / b * sum_ik [alpha y_ik (1 - p_ik)^gamma log p_ik + (1 - alpha) (1 - y_ik) p_ik^gamma log(1 - p_ik)]``

    c as in :class:`LikeBCE`.

    Args:
        form: ``reference`` or ``paper``.
        gamma: exponent of the probability that is missing; from 1 on, where its derivative is finite.
        alpha: weight of positive labels; negative ones have 1 - alpha.
    """

    class Options(TermOptions):
        """See the class."""

        gamma: float = Field(2.0, ge=1, description="exponent of the probability that is missing")
        alpha: float = Field(0.25, ge=0, le=1, description="weight of positive labels; 1 - alpha of negative ones")

    options: Options
    soft_labels = True

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        logits, options = batch.student.logits, self.options
        labels = batch.targets.to(logits.dtype)
        total: Tensor = sigmoid_focal_loss(logits, labels, options.alpha, options.gamma, reduction="sum")
        return total / len(logits)


@TERMS.register("two-way")
class TwoWay(LikeBCE):
    """Two-way loss (Kobayashi, CVPR 2023, Eq. 6-8): positive logits above negative ones, by image and by label.

    ``L = c * [mean_i h(N_i + P_i) + mean_k h(N_k + P_k)], h = softplus, over images and labels with a positive``

    N is tn * logsumexp(s / tn) over the negatives of an image (label), P is tp * logsumexp(-s / tp) over its positives.
    timm's ``TwoWayLoss``; its logits rank and are no log odds, so that a threshold of one half means little. A mean, of
    the size of one label's cross-entropy where ``bce`` sums over the labels; computed in float32. c as in
    :class:`LikeBCE`.

    Args:
        form: ``reference`` or ``paper``.
        temperature_positive: tp.
        temperature_negative: tn.
    """

    class Options(TermOptions):
        """See the class."""

        temperature_positive: float = Field(4.0, gt=0, description="of the soft minimum over positive logits")
        temperature_negative: float = Field(1.0, gt=0, description="of the soft maximum over negative logits")

    options: Options

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        loss = TwoWayLoss(self.options.temperature_positive, self.options.temperature_negative)
        value: Tensor = loss(batch.student.logits, batch.targets)
        return value


@TERMS.register("zlpr")
class ZLPR(LikeBCE):
    """Zero-bounded log-sum-exp and pairwise rank-based loss (Su et al., 2022, Eq. 5), timm's ``ZlprLoss``.

    ``L = c / b * sum_i [log(1 + sum_{k: y_ik = 0} exp(s_ik)) + log(1 + sum_{k: y_ik = 1} exp(-s_ik))]``

    It grows with the logarithm of the number of labels where ``bce`` sums over them; computed in float32. c as in
    :class:`LikeBCE`.

    Args:
        form: ``reference`` or ``paper``.
    """

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        value: Tensor = ZlprLoss()(batch.student.logits, batch.targets)
        return value
