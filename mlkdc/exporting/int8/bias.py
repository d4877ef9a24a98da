"""Bias correction: int8 rounding moves the mean of a layer's output; its bias can move it back."""

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mlkdc.exporting.int8.layers import Layer, layers_of, rounded, watched
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.model import ExportModel


@torch.no_grad()
def correct_biases(model: ExportModel, images: np.ndarray, how: Quantization) -> int:
    """Subtract from each bias, in place, the mean error of its layer's output in int8 (Nagel et al. 2019, section 4.2).

    The error is measured, channel by channel: the mean output over the images of the layer with rounded weights and
    rounded input, less the mean in floating point. Layers are corrected in the order they run, each behind those that
    are rounded and corrected already. As all images pass at once, one forward pass is enough: a layer's output is
    corrected before the next one takes it.

    Args:
        model: merged, in eval mode, on the CPU.
        images: ``uint8[n, 3, s, s]``, all held in memory with their activations.
        how: which modules stay in floating point, and the ranges; whatever has no bias is rounded and left as it is.

    Returns:
        The number of biases.
    """
    pixels = torch.from_numpy(images)
    layers = {name: layer for name, layer in layers_of(model).items() if not how.keeps(name)}
    exact = _measure(model, layers, pixels, how.clip)
    corrected: set[str] = set()

    def correct(name: str, _inputs: Tensor, output: Tensor) -> Tensor | None:
        layer = layers[name]
        if layer.bias is None:
            return None
        error = _channel_means(layer, output) - exact[name].means
        layer.bias.sub_(error)
        corrected.add(name)
        return output - (error.view(-1, 1, 1) if isinstance(layer, nn.Conv2d) else error)

    with ExitStack() as stack:
        for name, statistics in exact.items():
            low, high = statistics.input_range
            steps = how.steps_of(layers[name])
            rounding = rounded(layers[name], low, high, per_channel=how.per_channel, steps=steps)
            stack.enter_context(rounding)
        stack.enter_context(watched(layers, correct))
        model.logits(pixels)
    return len(corrected)


def input_ranges(model: ExportModel, pixels: Tensor, how: Quantization) -> dict[str, tuple[float, float]]:
    """Of the layers that are rounded, in the order they run: least and greatest input, zero included."""
    layers = {name: layer for name, layer in layers_of(model).items() if not how.keeps(name)}
    return {name: statistics.input_range for name, statistics in _measure(model, layers, pixels, how.clip).items()}


@dataclass(frozen=True)
class _Statistics:
    """Of a layer in floating point: the range of its input and the mean of each channel of its output."""

    input_range: tuple[float, float]
    means: Tensor


def _measure(model: ExportModel, layers: dict[str, Layer], pixels: Tensor, clip: bool) -> dict[str, _Statistics]:
    """Of each layer that runs, in the order they do."""
    statistics: dict[str, _Statistics] = {}

    def measure(name: str, inputs: Tensor, output: Tensor) -> None:
        statistics[name] = _Statistics(_range(inputs, clip), _channel_means(layers[name], output))

    with watched(layers, measure):
        model.logits(pixels)
    return statistics


def _range(inputs: Tensor, clip: bool) -> tuple[float, float]:
    """Of a layer's input, zero included; clipped: the mean over the images of each one's range."""
    lows, highs = inputs.flatten(1).amin(1), inputs.flatten(1).amax(1)
    low, high = (lows.mean(), highs.mean()) if clip else (lows.min(), highs.max())
    return min(low.item(), 0.0), max(high.item(), 0.0)


def _channel_means(layer: Layer, output: Tensor) -> Tensor:
    """Over all but the channels, which a convolution has third from the end and a linear layer last."""
    if isinstance(layer, nn.Conv2d):
        return output.mean((0, 2, 3))
    return output.flatten(0, -2).mean(0)
