"""Hints (FitNets, Romero et al., ICLR 2015): the student's features, projected, against the teacher's."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlkdc.losses.batch import Batch
from mlkdc.losses.common import LikeBCE
from mlkdc.losses.term import TERMS


@TERMS.register("hint")
class Hint(LikeBCE):
    """Regression of the teacher's pooled features from the student's (FitNets, section 2.2), by their cosine.

    ``L = c / b * sum_i (1 - cos(W f_S,i, f_T,i)), with a linear layer W that is trained along; c as in LikeBCE``

    The paper regresses a feature map in the middle of both networks by squared error, before the training proper.
    Pooled features are small enough to be kept for a complete training, and the cosine does not depend on the scale
    of the teacher's, which differs by the hundredfold between networks.

    Args:
        form: ``reference`` or ``paper``.
    """

    needs = frozenset({"student.pooled", "teacher.pooled"})
    uses_labels = False

    def build(self, example: Batch) -> None:
        """The projection: one linear layer without bias."""
        assert example.teacher is not None
        student, teacher = example.student.pooled, example.teacher.pooled
        assert student is not None
        assert teacher is not None
        self.layers = nn.Linear(student.shape[1], teacher.shape[1], bias=False)

    def mean(self, batch: Batch) -> Tensor:
        """See :class:`LikeBCE`."""
        assert self.layers is not None
        assert batch.teacher is not None
        student, teacher = batch.student.pooled, batch.teacher.pooled
        assert teacher is not None
        cosines: Tensor = F.cosine_similarity(self.layers(student), teacher, dim=1)
        return torch.mean(1 - cosines)
