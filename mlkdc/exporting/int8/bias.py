"""Bias correction: int8 rounding moves the mean of a layer's output; its bias can move it back."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mlkdc.exporting.int8.layers import Layer, laid_out, layers_of, rounded, watched
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.model import ExportModel


@dataclass(frozen=True)
class Statistics:
    """Of a layer in floating point, over some images.

    Args:
        lows, highs: the least and greatest input of each image.
        means: of each channel of its output, the last time it ran.
        runs: how often it runs in one pass of the model.
    """

    lows: Tensor
    highs: Tensor
    means: Tensor
    runs: int = 1

    def again(self, later: "Statistics") -> "Statistics":
        """With a later run of the layer in the same pass."""
        lows, highs = torch.minimum(self.lows, later.lows), torch.maximum(self.highs, later.highs)
        return Statistics(lows, highs, later.means, self.runs + 1)

    def input_range(self, clip: bool) -> tuple[float, float]:
        """Of the layer's input, zero included; clipped: the mean over the images of each one's range."""
        low, high = (self.lows.mean(), self.highs.mean()) if clip else (self.lows.min(), self.highs.max())
        return min(low.item(), 0.0), max(high.item(), 0.0)


@torch.no_grad()
def measure(model: ExportModel, pixels: Tensor) -> tuple[dict[str, Statistics], Tensor]:
    """Of each layer that runs, in the order they do; and the logits."""
    layers = layers_of(model)
    statistics: dict[str, Statistics] = {}

    def see(name: str, inputs: Tensor, output: Tensor) -> None:
        of_image = tuple(range(1, inputs.ndim))
        now = Statistics(inputs.amin(of_image), inputs.amax(of_image), _channel_means(layers[name], output))
        statistics[name] = statistics[name].again(now) if name in statistics else now

    with watched(layers, see):
        logits = model.logits(pixels)
    return statistics, logits


def input_ranges(exact: Mapping[str, Statistics], how: Quantization) -> dict[str, tuple[float, float]]:
    """Of the layers that are rounded, in the order they run: least and greatest input, zero included."""
    return {name: layer.input_range(how.clip) for name, layer in exact.items() if not how.keeps(name)}


@contextmanager
def quantized(model: ExportModel, exact: Mapping[str, Statistics], how: Quantization) -> Iterator[None]:
    """Within it, weights and inputs of all layers are rounded as ``how`` says.

    Args:
        model: merged, in eval mode, on the CPU; afterwards as it was.
        exact: of :func:`measure`.
        how: ranges, steps of the weights, and which modules stay in floating point.
    """
    layers = layers_of(model)
    with ExitStack() as stack:
        for name, (low, high) in input_ranges(exact, how).items():
            steps = how.steps_of(layers[name])
            stack.enter_context(rounded(layers[name], low, high, per_channel=how.per_channel, steps=steps))
        yield


@torch.no_grad()
def correct_biases(
    model: ExportModel, images: np.ndarray, how: Quantization, exact: Mapping[str, Statistics] | None = None
) -> int:
    """Subtract from each bias, in place, the mean error of its layer's output in int8 (Nagel et al. 2019, section 4.2).

    The error is measured, channel by channel: the mean output over the images of the layer with rounded weights and
    rounded input, less the mean in floating point. Layers are corrected in the order they run, each behind those that
    are rounded and corrected already. As all images pass at once, one forward pass is enough: a layer's output is
    corrected before the next one takes it.

    Args:
        model: merged, in eval mode, on the CPU.
        images: ``uint8[n, 3, s, s]``, all held in memory with their activations.
        how: which modules stay in floating point, and the ranges; whatever has no bias or runs twice is
            rounded and left as it is.
        exact: of :func:`measure` with these images, where it is known already.

    Returns:
        The number of biases.
    """
    pixels = laid_out(images, model)
    if exact is None:
        exact, _ = measure(model, pixels)
    layers = {name: layer for name, layer in layers_of(model).items() if not how.keeps(name)}
    corrected: set[str] = set()

    def correct(name: str, _inputs: Tensor, output: Tensor) -> Tensor | None:
        layer = layers[name]
        # Where a layer runs twice, one bias cannot take back the errors of both runs.
        if layer.bias is None or exact[name].runs > 1:
            return None
        error = _channel_means(layer, output) - exact[name].means
        layer.bias.sub_(error)
        corrected.add(name)
        return output - (error.view(-1, 1, 1) if isinstance(layer, nn.Conv2d) else error)

    with quantized(model, exact, how), watched(layers, correct):
        model.logits(pixels)
    return len(corrected)


def _channel_means(layer: Layer, output: Tensor) -> Tensor:
    """Over all but the channels, which a convolution has third from the end and a linear layer last."""
    if isinstance(layer, nn.Conv2d):
        return output.mean((0, 2, 3))
    return output.flatten(0, -2).mean(0)
