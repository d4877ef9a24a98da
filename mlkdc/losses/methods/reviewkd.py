"""ReviewKD: Distilling Knowledge via Knowledge Review, Chen et al., CVPR 2021."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlkdc.errors import UsageError
from mlkdc.losses.base import TERMS, Batch, Method, Outputs, Term, add_method

#: Sides of the grids to which a map is averaged (HCL), beside the map itself; each weighs half of the one before.
GRIDS = (4, 2, 1)


@TERMS.register("reviewkd")
class ReviewKD(Term):
    """The student's stages, fused from the coarsest to the finest by trained layers, against the teacher's stages
    (section 3), as in the authors' code.

    Stages are paired from the coarsest on, as many as both sides have; the fused maps are resized (nearest) to the
    teacher's resolution. The authors' models add the pooled features as a level of their own; here the 1 x 1 grid of
    the coarsest map compares them. A mean over the images of this process.

    Args:
        channels: of the fused maps, at most; never more than the student's coarsest stage has. The authors take 256 or
            512, at which the layers alone cost several times a mobile student's multiply-adds.
    """

    needs = frozenset({"student.stages", "teacher.stages"})

    def __init__(self, form: str = "reference", channels: float = 128) -> None:
        super().__init__(form)
        if channels < 1 or channels != int(channels):
            raise UsageError(f"reviewkd: expected a whole number of channels, 1 or more, got {channels}")
        self.channels = int(channels)

    def build(self, example: Batch) -> None:
        """One fusion for each pair of stages, coarsest first."""
        students, teachers = _coarsest_first(example.student, example.teacher)
        width = min(self.channels, students[0].shape[1])
        self.layers = nn.ModuleList(
            Fusion(student.shape[1], width, teacher.shape[1], fuses=at > 0)
            for at, (student, teacher) in enumerate(zip(students, teachers, strict=True))
        )

    def __call__(self, batch: Batch) -> Tensor:
        assert isinstance(self.layers, nn.ModuleList)
        students, teachers = _coarsest_first(batch.student, batch.teacher)
        total = students[0].new_zeros(())
        coarser: Tensor | None = None
        for fusion, student, teacher in zip(self.layers, students, teachers, strict=True):
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
        self.attention = nn.Conv2d(2 * width, 2, 1) if fuses else None
        self.output = _convolution(width, after, 3)

    def forward(self, stage: Tensor, coarser: Tensor | None, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The map ``[b, after, *size]`` to compare with the teacher's, and the fused one ``[b, width, *size]``."""
        fused = self.narrow(stage)
        if self.attention is not None:
            assert coarser is not None
            coarser = _resized(coarser, stage.shape[2:])
            own, other = self.attention(torch.cat([fused, coarser], dim=1)).sigmoid().split(1, dim=1)
            fused = own * fused + other * coarser
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
    return maps if maps.shape[2:] == size else F.interpolate(maps, tuple(size), mode="nearest")


def hierarchical_context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """HCL: the mean squared error of two maps ``[b, C, h, w]`` and of their averages over grids coarser than they are,
    weights 1, 1/2, 1/4, 1/8, divided by their sum.
    """
    total, weight, weights = F.mse_loss(student, teacher), 1.0, 1.0
    for side in GRIDS:
        if side < min(student.shape[2:]):
            weight /= 2
            weights += weight
            coarse = F.adaptive_avg_pool2d(student, side), F.adaptive_avg_pool2d(teacher, side)
            total = total + weight * F.mse_loss(coarse[0], coarse[1])
    return total / weights


# The authors' weight on ImageNet (0.6 to 8 on CIFAR-100, by the pair of models), beside a cross-entropy averaged over
# images: the BCE of the form "paper". They raise it over the first epochs; `distill.ramp` is for relations only.
add_method(
    Method(
        "reviewkd",
        "Chen et al., Distilling Knowledge via Knowledge Review, CVPR 2021",
        "matches the feature maps of all resolutions, the student's fused by layers trained along with it",
        {"bce": 1, "reviewkd": 1},
        form="paper",
    )
)
