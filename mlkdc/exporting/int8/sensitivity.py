"""How much each layer alone costs when it is quantized to int8."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor

from mlkdc.exporting.int8.bias import input_ranges, measure
from mlkdc.exporting.int8.layers import Layer, laid_out, layers_of, rounded, watched
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.model import ExportModel


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
    forward pass of all images for each module, in which the modules that run before it are not computed again.

    Args:
        model: in eval mode, on the CPU; afterwards as it was.
        images: ``uint8[n, 3, s, s]``, at least one; all held in memory with the output of every module.
        per_channel: one step per output channel of a weight instead of one per weight.

    Returns:
        By the names of :func:`weighted_modules`, in their order.
    """
    layers, pixels = layers_of(model), laid_out(images, model)
    outputs: dict[str, Tensor] = {}

    def keep(name: str, _input: Tensor, output: Tensor) -> None:
        # The activation behind it may work in place.
        outputs[name] = output.clone()

    with watched(layers, keep):
        exact, expected = measure(model, pixels)
    changes = {}
    with ExitStack() as known:
        for name, (low, high) in input_ranges(exact, Quantization(images)).items():
            with rounded(layers[name], low, high, per_channel=per_channel):
                changes[name] = (model.logits(pixels) - expected).abs().mean().item()
            # What a layer that runs twice is given the second time depends on layers between.
            if exact[name].runs == 1:
                known.enter_context(_answering(layers[name], outputs[name]))
    return changes


@contextmanager
def _answering(layer: Layer, output: Tensor) -> Iterator[None]:
    """Within it, the layer gives this output, and computes nothing."""
    layer.forward = lambda _: output.clone()  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del layer.forward
