"""What an exporter is given, and what it gives back."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import nn

from mlkdc.exporting.converted import Converted
from mlkdc.exporting.merging.model import ExportModel
from mlkdc.records.manifest import Dtype, RuntimeDetails
from mlkdc.runtime.targets import Target

#: Names of the graph's input and output, whatever the format.
INPUT = "image"
OUTPUT = "probabilities"


@dataclass(frozen=True)
class Quantization:
    """How an int8 model is made.

    Args:
        images: calibration images, ``uint8[n, 3, s, s]``, from the training split.
        per_channel: one scale per output channel of a weight instead of one per weight.
        reduce_range: half of the int8 range for weights.
        weight_steps: how many steps the largest weight takes, as the target's quantizer rounds.
        depthwise_steps: the same of depthwise convolutions.
        clip: estimate the ranges of activations without outliers, instead of from smallest to largest.
        correct_biases: the job's model has biases that make up for rounding
            (:func:`mlkdc.exporting.int8.bias.correct_biases`): a quantizer must not correct them again.
        keep: modules of the :class:`~mlkdc.exporting.merging.model.ExportModel` that stay in floating point with all
            that is in them (``head``, ``backbone.conv_stem``).
        fine_tuned: the job's model has the weights of :func:`mlkdc.exporting.int8.finetune.fine_tune`.
    """

    images: np.ndarray
    per_channel: bool = True
    reduce_range: bool = False
    weight_steps: float = 127
    depthwise_steps: float = 127
    clip: bool = False
    correct_biases: bool = False
    keep: tuple[str, ...] = ()
    fine_tuned: bool = False

    def part(self, most: int) -> int:
        """The largest number of images, up to ``most``, that divides them: some quantizers take equal parts only."""
        return next(size for size in range(most, 0, -1) if len(self.images) % size == 0)

    def steps_of(self, layer: nn.Conv2d | nn.Linear) -> float:
        """How many steps the layer's largest weight takes."""
        if isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels:
            return self.depthwise_steps
        return self.weight_steps

    def keeps(self, module: str) -> bool:
        """Whether the module of that dotted name stays in floating point."""
        return any(module == name or module.startswith(f"{name}.") for name in self.keep)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What an exporter is to write.

    Args:
        model: merged, in eval mode, on the CPU; takes NCHW whatever the target's layout is.
        folder: where the files go; exists.
        target: which target, with its options.
        precision: one of the target's.
        input_shape: ``(1, 3, s, s)``, whatever the target's layout is.
        input_dtype: of the pixels, RGB in 0..255 both.
        dynamic: any batch size instead of 1.
        classes: number of classes q.
        metadata: what the file says of itself, in formats that have a place for it.
        quantization: for ``int8``, else None.
        converted: of jobs that differ in their model's parameters and the quantization only.
    """

    model: ExportModel
    folder: Path
    target: Target
    precision: str
    input_shape: tuple[int, int, int, int]
    input_dtype: Dtype = "float32"
    dynamic: bool = False
    classes: int
    metadata: dict[str, str] = field(default_factory=dict)
    quantization: Quantization | None = None
    converted: Converted = field(default_factory=Converted)


@dataclass(frozen=True)
class Built:
    """What an exporter wrote.

    Args:
        files: names relative to the job's folder, with / between folders.
        details: what else must be known to run them (a GPU's compute capability), for the manifest.
    """

    files: list[str]
    details: RuntimeDetails = field(default_factory=RuntimeDetails)
