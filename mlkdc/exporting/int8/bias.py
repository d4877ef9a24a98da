"""Bias correction: int8 rounding moves the mean of what a layer gives; its bias takes that back."""

from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mlkdc.exporting.formats import Quantization
from mlkdc.exporting.int8.sensitivity import quantized
from mlkdc.exporting.merging.merge import ExportModel

Layer = nn.Conv2d | nn.Linear


@torch.no_grad()
def correct_biases(model: ExportModel, images: np.ndarray, how: Quantization) -> int:
    """Take from each bias, in place, the mean error of its layer's output in int8 (Nagel et al. 2019, section 4.2).

    The error is measured, channel by channel: the mean output over the pictures of the layer with rounded weights and
    rounded input, less the mean in floating point. Layers are corrected in the order they run, each behind those that
    are rounded and corrected already. As all pictures pass at once, one forward pass is enough: what a layer gives is
    corrected before the next one takes it.

    Args:
        model: merged, in eval mode, on the CPU.
        images: ``uint8[n, 3, s, s]``, all held in memory with their activations.
        how: which modules stay in floating point, and the ranges; whatever has no bias is rounded and left as it is.

    Returns:
        The number of biases.
    """
    pixels = torch.from_numpy(images)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, Layer) and not how.keeps(name)}
    ranges: dict[str, tuple[float, float]] = {}
    means: dict[str, Tensor] = {}

    def watch(name: str, given: Tensor, made: Tensor) -> None:
        ranges[name], means[name] = _range(given, how.clip), _mean(layers[name], made)

    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.register_forward_hook(_hook(name, watch)).remove)
        model.logits(pixels)

    def correct(name: str, _: Tensor, made: Tensor) -> Tensor | None:
        layer: Any = layers[name]
        if layer.bias is None:
            return None
        error = _mean(layer, made) - means[name]
        layer.bias.sub_(error)
        return made - (error.view(-1, 1, 1) if isinstance(layer, nn.Conv2d) else error)

    with ExitStack() as stack:
        for name in means:
            layer = layers[name]
            stack.enter_context(quantized(layer, *ranges[name], how.per_channel, how.reduce_range))
            stack.callback(layer.register_forward_hook(_hook(name, correct)).remove)
        model.logits(pixels)
    return sum(layers[name].bias is not None for name in means)


def _hook(name: str, see: Any) -> Any:
    return lambda _, given, made: see(name, given[0], made)


def _range(given: Tensor, clip: bool) -> tuple[float, float]:
    """Of the input, zero included; clipped: the mean over the pictures of each one's range."""
    lows, highs = given.flatten(1).amin(1), given.flatten(1).amax(1)
    low, high = (lows.mean(), highs.mean()) if clip else (lows.min(), highs.max())
    return min(low.item(), 0.0), max(high.item(), 0.0)


def _mean(layer: nn.Module, made: Tensor) -> Tensor:
    """Over all but the channels, which a convolution has third from the end and a linear layer last."""
    return made.mean((0, 2, 3)) if isinstance(layer, nn.Conv2d) else made.flatten(0, -2).mean(0)
