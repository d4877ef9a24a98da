"""What is timed: a name and the command of a worker process."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlkdc.runtime import Manifest

BASELINE = "torch eager"


@dataclass(frozen=True)
class Row:
    """One line of the latency table.

    Args:
        name: shown; the row called ``torch eager`` is what speedups refer to.
        command: argv of a worker that accepts ``--runs N --threads N`` and whose last line on stdout is the
            JSON of :func:`mlkdc.runtime.timing.measure`.
        size_bytes: of the model files; None where that means nothing.
    """

    name: str
    command: list[str]
    size_bytes: int | None = None


def artifact_row(folder: Path) -> Row:
    """The row of an exported artifact, named as its folder.

    Raises:
        UsageError: the folder holds no readable manifest.
    """
    folder = Path(folder).resolve()
    command = [sys.executable, "-m", "mlkdc.runtime.worker", "time", str(folder)]
    return Row(folder.name, command, Manifest.load(folder).size_bytes)


def artifact_rows(folders: Sequence[Path]) -> list[Row]:
    """The rows of several artifacts; those of equal folder name (``onnx-fp32`` of two runs) get their run's
    name in front.

    Raises:
        UsageError: as :func:`artifact_row`.
    """
    rows = [artifact_row(folder) for folder in folders]
    times = Counter(row.name for row in rows)
    # RUN/export/onnx-fp32: the run is two levels up
    runs = [Path(folder).resolve().parent.parent.name for folder in folders]
    return [
        replace(row, name=f"{run}/{row.name}") if times[row.name] > 1 else row
        for row, run in zip(rows, runs, strict=True)
    ]
