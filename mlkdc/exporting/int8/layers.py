"""The layers that int8 rounds: watched while they run, and rounded as a runtime would round them."""

import contextlib
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from mlkdc.models import memory_format

Layer = nn.Conv2d | nn.Linear
#: Called with a layer's name, input and output; what it returns, if anything, replaces the output.
See = Callable[[str, Tensor, Tensor], Tensor | None]


def layers_of(model: nn.Module) -> dict[str, Layer]:
    """Convolutions and linear layers by dotted name, in the order they are held (not always that in which they run)."""
    layers: dict[str, Layer] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            layers[name] = module
    return layers


def laid_out(images: np.ndarray, model: nn.Module) -> Tensor:
    """``uint8[n, 3, s, s]`` in the layout that the model computes fastest."""
    return torch.from_numpy(images).contiguous(memory_format=memory_format(model))


@contextlib.contextmanager
def watched(layers: dict[str, Layer], see: See) -> Iterator[None]:
    """Call ``see`` after each run of one of the layers; afterwards they are as they were, whatever happens."""
    with contextlib.ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(_hook(name, see)).remove)
        yield


def _hook(name: str, see: See) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
    def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        return see(name, inputs[0], output)

    return hook


@contextlib.contextmanager
def rounded(layer: Layer, low: float, high: float, *, per_channel: bool, steps: float = 127) -> Iterator[None]:
    """A layer with weights and input rounded as int8 would round them; put back whatever happens.

    Args:
        low, high: of the input, around zero.
        per_channel: one step per output channel of a weight instead of one per weight.
        steps: of which the largest weight takes so many; a quantizer's own number, since what it rounds to another
            step is another error.
    """
    weight = layer.weight
    hook = layer.register_forward_pre_hook(round_input(low, high))
    try:
        layer.weight = nn.Parameter(rounded_weight(weight, per_channel, steps), requires_grad=False)
        yield
    finally:
        hook.remove()
        layer.weight = weight


def round_input(low: float, high: float) -> Callable[[nn.Module, tuple[Tensor, ...]], Tensor]:
    """A hook before a layer's pass, which rounds its input to 0..255 steps of a range around zero."""
    step = max((high - low) / 255, 1e-12)
    zero = round(-low / step)
    inverse = float(np.float32(1) / np.float32(step))

    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
        if torch.is_grad_enabled():
            return torch.fake_quantize_per_tensor_affine(inputs[0], step, zero, 0, 255)
        # The same numbers, bit by bit, in a third of the time.
        return inputs[0].mul(inverse).round_().clamp_(-zero, 255 - zero).mul_(step)

    return hook


def rounded_weight(weight: Tensor, per_channel: bool, count: float) -> Tensor:
    """In steps of which the largest weight takes ``count``; its gradient is the weight's, as if it were not rounded."""
    ranges = weight.detach().flatten(1).abs().amax(1)
    if not per_channel:
        ranges = ranges.max().expand_as(ranges)
    steps = ranges.clamp_min(1e-12) / count
    zeros = torch.zeros_like(steps, dtype=torch.int32)
    # With a half, the largest weight lies between two steps; NNCF's formula rounds that towards zero.
    most = math.floor(count)
    return torch.fake_quantize_per_channel_affine(weight, steps, zeros, 0, -most, most)
