"""What int8 would do to the answers, estimated in torch: seconds, where making an artifact takes minutes."""

import copy
from functools import cached_property

import numpy as np
import torch

from mlkdc.exporting.int8.bias import Statistics, correct_biases, measure, quantized
from mlkdc.exporting.int8.layers import laid_out
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.model import ExportModel


class Simulation:
    """A model's layers rounded in torch; what the model does in floating point is measured once for all settings.

    Args:
        model: merged, in eval mode, on the CPU.
        images: ``uint8[n, 3, s, s]``.
        corrected_on: the images that biases are corrected on, as they will be for the artifact.
    """

    def __init__(self, model: ExportModel, images: np.ndarray, corrected_on: np.ndarray) -> None:
        self._model, self._pixels, self._corrected_on = model, laid_out(images, model), corrected_on
        self._exact, self._logits = measure(model, self._pixels)

    @cached_property
    def _exact_for_biases(self) -> dict[str, Statistics]:
        statistics, _ = measure(self._model, laid_out(self._corrected_on, self._model))
        return statistics

    @torch.no_grad()
    def change(self, how: Quantization) -> float:
        """The mean absolute change of the logits when weights and inputs of all layers are rounded as ``how`` says.

        What is rounded between layers, and how a runtime estimates ranges in detail, is left out: the figure ranks
        settings, and says how many times more one changes the answers than another.

        Args:
            how: ranges, steps of the weights, corrected biases, and which modules stay in floating point.
        """
        model, exact = self._model, self._exact
        if how.correct_biases:
            model = copy.deepcopy(model)
            correct_biases(model, self._corrected_on, how, self._exact_for_biases)
            # A quantizer estimates the ranges of the model that it is given.
            exact, _ = measure(model, self._pixels)
        with quantized(model, exact, how):
            return float((model.logits(self._pixels) - self._logits).abs().mean())
