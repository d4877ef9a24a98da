"""One file per format. An exporter writes the model files of an artefact and returns their names."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlkdc.export.merge import ExportModel
from mlkdc.export.targets import Target
from mlkdc.registry import Registry


@dataclass(frozen=True)
class Job:
    """What an exporter is asked for.

    Args:
        model: merged, in eval mode, on the CPU.
        folder: where the files go; exists.
        target: which target, with its options.
        precision: one of the target's.
        input_shape: ``(1, 3, s, s)``.
        input_dtype: ``float32`` or ``uint8``, RGB in 0..255 both.
        dynamic: any batch size instead of 1.
        classes: q.
    """

    model: ExportModel
    folder: Path
    target: Target
    precision: str
    input_shape: tuple[int, int, int, int]
    input_dtype: str
    dynamic: bool
    classes: int


# Names of the graph's input and output, whatever the format.
INPUT = "image"
OUTPUT = "probabilities"

Exporter = Callable[[Job], list[str]]
EXPORTERS: Registry[Exporter] = Registry("export format", __name__)
