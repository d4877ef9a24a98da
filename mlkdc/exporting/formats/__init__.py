"""One file per format. An exporter writes the model files of an artifact and says which they are."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.exporting.merging.merge import ExportModel
from mlkdc.registry import Registry
from mlkdc.runtime.targets import Target


@dataclass(frozen=True)
class Quantization:
    """How an int8 model is made.

    Args:
        images: calibration pictures, ``uint8[n, 3, s, s]``, from the training split.
        per_channel: one scale per output channel of a weight instead of one per weight.
        reduce_range: half of the int8 range for weights.
        clip: estimate the ranges of activations with outliers left out, instead of from smallest to largest.
        correct: the job's model has biases that make up for rounding
            (:func:`mlkdc.exporting.int8.bias.correct_biases`): a quantizer must not correct them again.
        keep: modules of the :class:`~mlkdc.exporting.merging.merge.ExportModel` that stay in floating point with all
            that is in them (``head``, ``backbone.conv_stem``).
    """

    images: np.ndarray
    per_channel: bool = True
    reduce_range: bool = False
    clip: bool = False
    correct: bool = False
    keep: tuple[str, ...] = ()

    def keeps(self, module: str) -> bool:
        """Whether the module of that dotted name stays in floating point."""
        return any(module == name or module.startswith(f"{name}.") for name in self.keep)


@dataclass(frozen=True)
class Job:
    """What an exporter is asked for.

    Args:
        model: merged, in eval mode, on the CPU; takes NCHW whatever the target's layout is.
        folder: where the files go; exists.
        target: which target, with its options.
        precision: one of the target's.
        input_shape: ``(1, 3, s, s)``, whatever the target's layout is.
        input_dtype: ``float32`` or ``uint8``, RGB in 0..255 both.
        dynamic: any batch size instead of 1.
        classes: q.
        quantization: for ``int8``, else None.
    """

    model: ExportModel
    folder: Path
    target: Target
    precision: str
    input_shape: tuple[int, int, int, int]
    input_dtype: str
    dynamic: bool
    classes: int
    quantization: Quantization | None = None


@dataclass(frozen=True)
class Built:
    """What an exporter wrote.

    Args:
        files: names relative to the job's folder, with / between folders.
        details: what else a user must know to run them (a GPU's compute capability), for the manifest.
    """

    files: list[str]
    details: dict[str, Any] = field(default_factory=dict)


# Names of the graph's input and output, whatever the format.
INPUT = "image"
OUTPUT = "probabilities"

Exporter = Callable[[Job], Built]
EXPORTERS: Registry[Exporter] = Registry("export format", __name__)
