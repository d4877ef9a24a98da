"""The small residual networks for 32 x 32 images that tables of distillation papers are made of.

They begin at full resolution and halve it twice, so that the map is a quarter of the image: at 224 px they cost 49
times what they do at 32. No weights of them are published with any of the papers.
"""

from collections import OrderedDict
from typing import NamedTuple

from torch import Tensor, nn


class Shape(NamedTuple):
    """Residual blocks per stage, channels of the stem and of the three stages, and whether blocks are pre-activated."""

    blocks: int
    stem: int
    widths: tuple[int, int, int]
    preactivated: bool = False


#: By name, the same names as :data:`mlkdc.model_names.CIFAR_NAMES`.
#: ResNets: He et al. 2016, "Deep Residual Learning", section 4.2, depth 6n + 2; x4 is Tian et al. 2020 (CRD). WRN-d-k:
#: Zagoruyko and Komodakis 2016, section 2, depth d = 6n + 4, k times as wide.
CIFAR = {
    "resnet20": Shape(3, 16, (16, 32, 64)),
    "resnet56": Shape(9, 16, (16, 32, 64)),
    "resnet32x4": Shape(5, 32, (64, 128, 256)),
    "wrn_16_2": Shape(2, 16, (32, 64, 128), preactivated=True),
    "wrn_40_1": Shape(6, 16, (16, 32, 64), preactivated=True),
    "wrn_40_2": Shape(6, 16, (32, 64, 128), preactivated=True),
}


def make_cifar(name: str) -> nn.Sequential:
    """One of :data:`CIFAR` without its classifier, from random weights (He et al. 2015, fan-out).

    Returns:
        Its three stages: ``float[b, 3, s, s]`` to maps of side s, s / 2 and s / 4, rounded up.
    """
    shape = CIFAR[name]
    narrow, middle, wide = shape.widths
    first = _make_stage(shape, shape.stem, narrow, stride=1)
    second = _make_stage(shape, narrow, middle, stride=2)
    third = _make_stage(shape, middle, wide, stride=2)
    # What is before the first block, and the activation a pre-activated network ends with, belong to a stage too:
    # every child of the body is then a stage, and its output the stage's map.
    first.insert(0, _conv(3, shape.stem, 3, 1))
    if shape.preactivated:
        third.append(_activation(wide))
    else:
        first.insert(1, _activation(shape.stem))
    body = nn.Sequential(OrderedDict(stage1=first, stage2=second, stage3=third))
    for layer in body.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return body


def _make_stage(shape: Shape, before: int, after: int, stride: int) -> nn.Sequential:
    """Residual blocks from ``before`` to ``after`` channels, of which the first has the stride."""
    make_block: type[_Block] | type[_PreactivatedBlock] = _Block
    if shape.preactivated:
        make_block = _PreactivatedBlock
    stage = nn.Sequential(make_block(before, after, stride))
    for _ in range(shape.blocks - 1):
        stage.append(make_block(after, after, 1))
    return stage


def _conv(before: int, after: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, bias=False)


def _activation(channels: int) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))


class _Block(nn.Module):
    """Basic block. A shortcut between different shapes is a 1x1 convolution with BatchNorm (option B), as in the
    networks that distillation papers share; He's networks for 32 px pad with zeros and have up to 1 % fewer parameters.
    """

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            _conv(before, after, 3, stride), _activation(after), _conv(after, after, 3, 1), nn.BatchNorm2d(after)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(_conv(before, after, 1, stride), nn.BatchNorm2d(after))
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.relu(self.branch(x) + self.shortcut(x))
        return output


class _PreactivatedBlock(nn.Module):
    """Pre-activated basic block: a 1x1 shortcut takes the activated input, an identity the input itself."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.activation = _activation(before)
        self.branch = nn.Sequential(_conv(before, after, 3, stride), _activation(after), _conv(after, after, 3, 1))
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or before != after:
            self.shortcut = _conv(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        active: Tensor = self.activation(x)
        output: Tensor = self.branch(active)
        if self.shortcut is None:
            return output + x
        residual: Tensor = self.shortcut(active)
        return output + residual
