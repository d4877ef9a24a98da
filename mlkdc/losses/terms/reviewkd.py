"""ReviewKD: Distilling Knowledge via Knowledge Review, Chen et al., CVPR 2021."""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from mlkdc.losses.batch import Batch, Outputs
from mlkdc.losses.options import TermOptions
from mlkdc.losses.term import TERMS, Term

#: Sides of the grids to which a map is averaged (HCL), next to the map itself; each weighs half of the one before.
GRIDS = (4, 2, 1)


@TERMS.register("reviewkd")
class ReviewKD(Term):
    """The student's stages, fused from the coarsest to the finest by trained layers, against the teacher's (section 3).

    ``L = sum_n HCL(F_n(S_n, S_n+1, ..), T_n), over stages n; F fuses a stage with the coarser ones``

    Stages are paired from the coarsest on, as many as both sides have; the fused maps are resized (nearest) to the
    teacher's resolution, as in the authors' code. The authors' models add the pooled features as one more level; here
    the 1 x 1 grid of the coarsest map compares them. A mean over the images of this process.

    Args:
        channels: of the fused maps, at most; never more than the student's coarsest stage has. The authors take 256 or
            512, at which the layers alone cost several times a mobile student's multiply-adds.
    """

    class Options(TermOptions):
        """See the class."""

        channels: int = Field(128, ge=1, description="of the fused maps, at most")

    options: Options
    needs = frozenset({"student.stages", "teacher.stages"})
    uses_labels = False

    def build(self, example: Batch) -> None:
        """One fusion for each pair of stages, coarsest first."""
        students, teachers = _coarsest_first(example.student, example.teacher)
        width = min(self.options.channels, students[0].shape[1])
        fusions = nn.ModuleList()
        for student, teacher in zip(students, teachers, strict=True):
            # The coarsest stage has nothing coarser to fuse with.
            fusions.append(Fusion(student.shape[1], width, teacher.shape[1], fuses=len(fusions) > 0))
        self.layers = fusions

    def compute(self, batch: Batch) -> Tensor:
        """See :class:`mlkdc.losses.Term`."""
        assert isinstance(self.layers, nn.ModuleList)
        students, teachers = _coarsest_first(batch.student, batch.teacher)
        total = students[0].new_zeros(())
        coarser: Tensor | None = None
        for fusion, student, teacher in zip(self.layers, students, teachers, strict=True):
            # What is fused at this stage goes on to the next finer one; only the output has the teacher's channels.
            output, coarser = fusion(student, coarser, teacher.shape[2:])
            total = total + hierarchical_context_loss(output, teacher)
        return total


def _coarsest_first(student: Outputs, teacher: Outputs | None) -> tuple[list[Tensor], list[Tensor]]:
    assert teacher is not None
    assert student.stages is not None
    assert teacher.stages is not None
    count = min(len(student.stages), len(teacher.stages))
    return list(student.stages[::-1][:count]), list(teacher.stages[::-1][:count])


class Fusion(nn.Module):
    """Attention-based fusion (ABF) of a stage with what came from the coarser ones.

    Args:
        before: channels of the student's stage.
        width: channels of the fused map.
        after: channels of the teacher's stage.
        fuses: False for the coarsest stage, which has nothing to fuse with.
    """

    def __init__(self, before: int, width: int, after: int, fuses: bool) -> None:
        super().__init__()
        self.narrow = _convolution(before, width, 1)
        self.attention: nn.Conv2d | None = None
        if fuses:
            self.attention = nn.Conv2d(2 * width, 2, 1)
        self.output = _convolution(width, after, 3)

    def forward(self, stage: Tensor, coarser: Tensor | None, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The map ``[b, after, *size]`` to compare with the teacher's, and the fused one ``[b, width, *size]``."""
        fused = self.narrow(stage)
        if self.attention is not None:
            assert coarser is not None
            coarser = _resized(coarser, stage.shape[2:])
            fine, coarse = self.attention(torch.cat([fused, coarser], dim=1)).sigmoid().split(1, dim=1)
            fused = fine * fused + coarse * coarser
        fused = _resized(fused, size)
        return self.output(fused), fused


def _convolution(before: int, after: int, side: int) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, side, padding=side // 2, bias=False)
    nn.init.kaiming_uniform_(convolution.weight, a=1)
    return nn.Sequential(convolution, BatchNorm(after))


class BatchNorm(nn.BatchNorm2d):
    """Batch normalization that takes a single value per channel too: one image whose map is 1 x 1. It has no spread,
    so that the running statistics stand in.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def _resized(maps: Tensor, size: Sequence[int]) -> Tensor:
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, tuple(size), mode="nearest")


def hierarchical_context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """HCL: the mean squared error of two maps ``[b, C, h, w]`` and of their averages over grids coarser than they are,
    weights 1, 1/2, 1/4, 1/8, divided by their sum.
    """
    total, weight, weights = F.mse_loss(student, teacher), 1.0, 1.0
    for side in GRIDS:
        if side < min(student.shape[2:]):
            weight /= 2
            weights += weight
            coarse_student = F.adaptive_avg_pool2d(student, side)
            coarse_teacher = F.adaptive_avg_pool2d(teacher, side)
            total = total + weight * F.mse_loss(coarse_student, coarse_teacher)
    return total / weights
