"""Tf-KD with a constructed teacher (Yuan et al., CVPR 2020)."""

import math

from pydantic import Field
from torch import Tensor

from mlkdc.losses.batch import Batch
from mlkdc.losses.common import LikeBCE, bernoulli_kl
from mlkdc.losses.options import TermOptions
from mlkdc.losses.term import TERMS


@TERMS.register("tfkd")
class TfKD(LikeBCE):
    """KL from a teacher that is right with a fixed probability to the student (the paper's Tf-KD_reg).

    ``L = c T^2 / b * sum_ik KL(r_ik(T) || p_S,ik(T)), with r_ik = correct where y_ik = 1, else 1 - correct``

    Adapted to several labels: where the paper's teacher is one distribution over classes, this one gives every
    label a distribution, ``correct`` for the true state and ``1 - correct`` for the other. The factor T^2 is not
    printed in the paper; without it a temperature of 20 leaves 1/400 of the gradient. The release softens the
    teacher's probabilities instead of its logits, and does not soften the student. c as in :class:`LikeBCE`.

    Args:
        form: ``reference`` or ``paper``.
        correct: the teacher's probability of the truth.
        temperature: T, divides the logits of both sides.
    """

    class Options(TermOptions):
        """See the class."""

        correct: float = Field(0.99, ge=0.5, lt=1, description="the teacher's probability of the truth")
        temperature: float = Field(20.0, gt=0, description="softens both sides")

    options: Options
    soft_labels = True

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        student, correct = batch.student.logits, self.options.correct
        certainty = math.log(correct / (1 - correct))  # its logit, so that both sides are softened alike
        teacher = certainty * (2 * batch.targets.to(student.dtype) - 1)
        return bernoulli_kl(teacher, student, self.options.temperature).sum() / len(student)
