"""Latency of runs and artifacts, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlkdc.bench import BASELINE, Row, artifact_rows, bench
from mlkdc.commands.evaluate import is_artifact_folder
from mlkdc.figures import DASH, megabytes, number, ratio
from mlkdc.progress import Progress
from mlkdc.recipe import Bench
from mlkdc.records.bench import BenchFile, LatencyRow
from mlkdc.records.manifest import Manifest
from mlkdc.records.run import Run, load_run
from mlkdc.tables import Table


@dataclass
class _Contents:
    """What lies in the folders that are to be timed."""

    runs: list[Run] = field(default_factory=list)
    artifacts: list[Path] = field(default_factory=list)


def bench_paths(
    paths: Sequence[Path],
    *,
    runs: int | None = None,
    passes: int | None = None,
    threads: Sequence[int] | None = None,
    out: Path | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> tuple[BenchFile, Path]:
    """Time run folders (torch eager and all their artifacts) and artifact folders, side by side.

    Args:
        paths: of runs and artifacts.
        runs: timed calls per process; None = as the run's recipe says.
        passes: processes per row; None = as the run's recipe says.
        threads: numbers of threads; None = as the run's recipe says.
        out: the JSON file; None = the run's bench.json if one run is all there is, else ``bench.json`` here.
        command: recorded.
        progress: hears of every process.

    Returns:
        The figures, and the file they were written to.

    Raises:
        UsageError: a path is neither a finished run nor an artifact.
    """
    progress = progress or Progress()
    contents = _read(paths)
    spec, target = Bench(), out or Path(BenchFile.FILE)
    if len(contents.runs) == len(paths) == 1:
        only = contents.runs[0]
        spec, target = only.recipe.bench, out or only.path / BenchFile.FILE
    figures = bench(
        _rows(contents, several=len(paths) > 1),
        runs=runs or spec.runs,
        passes=passes or spec.passes,
        threads=threads or spec.threads,
        image_size=_common_image_size(contents),
        command=command,
        progress=progress.say,
    )
    figures.save_as(target)
    return figures, target


def _read(paths: Sequence[Path]) -> _Contents:
    contents = _Contents()
    for path in paths:
        if is_artifact_folder(path):
            contents.artifacts.append(path)
        else:
            run = load_run(path)
            contents.runs.append(run)
            contents.artifacts += run.artifacts()
    return contents


def _rows(contents: _Contents, several: bool) -> list[Row]:
    rows = []
    for run in contents.runs:
        name = BASELINE
        if several:
            name = f"{run.path.name}/{BASELINE}"
        arguments = ("-m", "mlkdc.train.eager")
        rows.append(Row(name, arguments, run.path, run.weights.stat().st_size))
    return rows + artifact_rows(contents.artifacts)


def _common_image_size(contents: _Contents) -> int | None:
    sizes = {run.recipe.data.image_size for run in contents.runs}
    sizes.update(Manifest.load(folder).image_size for folder in contents.artifacts)
    if len(sizes) == 1:
        return sizes.pop()
    return None


def bench_table(figures: BenchFile) -> Table:
    """The rows of bench.json for people."""
    head = ["model", "threads", "median ms", "p90", "p99", "MB", "speedup", ""]
    return Table(head, [_cells(row) for row in figures.rows], "lrrrrrrl")


def _cells(row: LatencyRow) -> list[str]:
    timing = row.timing
    if timing is None:
        return [row.name, str(row.threads), *([DASH] * 5), f"skipped: {row.skipped}"]
    state = ""
    if not timing.stable:
        state = "unstable"
    figures = [number(timing.median_ms), number(timing.p90_ms), number(timing.p99_ms)]
    return [row.name, str(row.threads), *figures, megabytes(row.size_bytes, 1), ratio(row.speedup), state]
