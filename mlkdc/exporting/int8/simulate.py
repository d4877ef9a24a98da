"""What int8 would do to the answers, estimated in torch: seconds, where making an artifact takes minutes."""

import copy
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from mlkdc.exporting.int8.bias import correct_biases, input_ranges
from mlkdc.exporting.int8.layers import layers_of, rounded
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.model import ExportModel


@torch.no_grad()
def simulated_change(model: ExportModel, images: np.ndarray, how: Quantization, corrected_on: np.ndarray) -> float:
    """The mean absolute change of the logits when weights and inputs of all layers are rounded as ``how`` says.

    What is rounded between layers, and how a runtime estimates ranges in detail, is left out: the figure ranks
    settings, and says how many times more one changes the answers than another.

    Args:
        model: merged, in eval mode, on the CPU; afterwards as it was.
        images: ``uint8[n, 3, s, s]``.
        how: ranges, steps of the weights, corrected biases, and which modules stay in floating point.
        corrected_on: the images that biases are corrected on, as they will be for the artifact.
    """
    pixels = torch.from_numpy(images)
    expected = model.logits(pixels)
    if how.correct_biases:
        model = copy.deepcopy(model)
        correct_biases(model, corrected_on, how)
    return float((_rounded_logits(model, pixels, how) - expected).abs().mean())


def _rounded_logits(model: ExportModel, pixels: Tensor, how: Quantization) -> Tensor:
    layers = layers_of(model)
    with ExitStack() as stack:
        for name, (low, high) in input_ranges(model, pixels, how).items():
            steps = how.steps_of(layers[name])
            stack.enter_context(rounded(layers[name], low, high, per_channel=how.per_channel, steps=steps))
        return model.logits(pixels)
