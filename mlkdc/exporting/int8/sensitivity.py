"""How much each layer alone costs when it is quantized to int8."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mlkdc.exporting.int8.layers import layers_of, rounded, watched
from mlkdc.exporting.merging.model import ExportModel

BATCH = 32


@torch.no_grad()
def weighted_modules(model: ExportModel, image: Tensor) -> list[str]:
    """Dotted names of the Conv2d and Linear modules that run, in the order they first do.

    Args:
        model: in eval mode.
        image: ``[1, 3, s, s]`` RGB in 0..255, for the forward pass that is watched.
    """
    names: dict[str, None] = {}

    def note(name: str, _input: Tensor, _output: Tensor) -> None:
        names[name] = None

    with watched(layers_of(model), note):
        model.logits(image)
    return list(names)


@torch.no_grad()
def sensitivity(model: ExportModel, images: np.ndarray, *, per_channel: bool) -> dict[str, float]:
    """The mean absolute change of the logits when one module is quantized and all others are not.

    For module m: mean over images and classes of ``|logits(x; m quantized) - logits(x)|``, in units of logits. The
    weights of m are rounded to -127..127 steps of ``max|w| / 127``, its input to 0..255 steps of ``(hi - lo) / 255``,
    with lo and hi the least and greatest input over these images, and zero. Biases stay as they are. It takes one
    forward pass of all images for each module.

    Args:
        model: in eval mode, on the CPU; afterwards as it was.
        images: ``uint8[n, 3, s, s]``, at least one.
        per_channel: one step per output channel of a weight instead of one per weight.

    Returns:
        By the names of :func:`weighted_modules`, in their order.
    """
    layers = layers_of(model)
    batches = torch.split(torch.from_numpy(images), BATCH)
    ranges: dict[str, tuple[float, float]] = {}

    def widen(name: str, inputs: Tensor, _output: Tensor) -> None:
        low, high = ranges.get(name, (0.0, 0.0))
        ranges[name] = min(low, inputs.min().item()), max(high, inputs.max().item())

    with watched(layers, widen):
        expected = [model.logits(batch) for batch in batches]
    changes = {}
    for name, (low, high) in ranges.items():
        with rounded(layers[name], low, high, per_channel=per_channel):
            changes[name] = _mean_change(model, batches, expected)
    return changes


def _mean_change(model: ExportModel, batches: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    total, count = 0.0, 0
    for batch, logits in zip(batches, expected, strict=True):
        total += (model.logits(batch) - logits).abs().double().sum().item()
        count += logits.numel()
    return total / count
