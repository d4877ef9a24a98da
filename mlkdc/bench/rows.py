"""What is timed: a name and the arguments of a worker process."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlkdc.records.manifest import Manifest


@dataclass(frozen=True)
class Row:
    """One line of the latency table.

    Args:
        name: shown; the row called ``torch eager`` is what speedups refer to.
        arguments: of the device's Python, for a worker that accepts ``--runs N --threads N`` and whose last line on
            stdout is a :class:`mlkdc.records.bench.Timing` in JSON.
        folder: the run or artifact, which the device gets, and whose path there follows the arguments.
        size_bytes: of the model files; None where that means nothing.
    """

    name: str
    arguments: tuple[str, ...]
    folder: Path | None = None
    size_bytes: int | None = None


def artifact_rows(folders: Sequence[Path]) -> list[Row]:
    """The rows of artifacts, named after their folders; equal names get their run's in front.

    Raises:
        UsageError: a folder holds no readable manifest.
    """
    paths = [Path(folder).resolve() for folder in folders]
    times = Counter(path.name for path in paths)
    rows = []
    for path in paths:
        name = path.name
        if times[name] > 1:
            run = path.parent.parent  # of RUN/export/onnx-fp32
            name = f"{run.name}/{name}"
        arguments = ("-m", "mlkdc.runtime.worker", "time")
        rows.append(Row(name, arguments, path, Manifest.load(path).size_bytes))
    return rows
