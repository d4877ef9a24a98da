"""`mlkdc run`: teacher, student, exports, latency and report in a row."""

from pathlib import Path
from typing import TYPE_CHECKING

from mlkdc.bench import BASELINE
from mlkdc.bench.table import speedup_text
from mlkdc.commands.bench import Asked, bench_paths
from mlkdc.commands.check import check_exports, check_recipe
from mlkdc.commands.describe import artifact_lines
from mlkdc.data.runs import run_data
from mlkdc.errors import MlkdcError
from mlkdc.figures import DASH, megabytes, number
from mlkdc.figures import threads as threads_in_words
from mlkdc.progress import Progress
from mlkdc.records.bench import BenchFile, LatencyRow
from mlkdc.records.manifest import Manifest
from mlkdc.records.run import Run
from mlkdc.report import write_report
from mlkdc.runtime.targets import split_name
from mlkdc.tables import Table

if TYPE_CHECKING:
    from mlkdc.recipe import Recipe


def run_all(
    recipe: "Recipe | None",
    *,
    out: Path | None = None,
    resume: Path | None = None,
    data: str | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> tuple[Run, BenchFile, Path]:
    """Train teacher and student, export to each of the recipe's targets, measure latency, and write the report.

    Arguments are those of :func:`mlkdc.train.distill`. Returns the run, what was
    measured now, and the path of its HTML report.

    Raises:
        UsageError, MlkdcError: as each step does; what the steps before it wrote stays.
    """
    from mlkdc.exporting import export
    from mlkdc.train import distill

    progress = progress or Progress()
    if recipe is not None:  # what would stop an export is said now, not after the training
        check_recipe(recipe)
        check_exports(recipe)
    run = distill(recipe, out=out, resume=resume, data=data, command=command, progress=progress)
    for target in run.recipe.targets:
        progress.say(f"exporting to {target}")
        name, precision = split_name(target)
        folder = export(run, name, precision=precision, data=data, say=progress.say)
        for line in artifact_lines(Manifest.load(folder)):
            progress.say(f"  {line}")
    progress.say("measuring latency")
    figures, _ = bench_paths([run.path], Asked(command=command), progress=progress)
    return run, figures, write_report(run.path)


def example_image(run: Run, moved_to: str | None = None) -> Path | None:
    """An image to predict; None where the run's data is not there.

    Args:
        run: finished.
        moved_to: where its data is now, if it has moved.
    """
    try:
        return run_data(run, lambda text: None, moved_to).samples[0].image
    except MlkdcError:
        return None


def summary_table(run: Run) -> Table:
    """The closing table of `mlkdc run`: teacher, student and each artifact, with accuracy, size and latency."""
    results = run.results
    figures = run.bench
    rows = figures.rows if figures else ()
    threads = max((row.threads for row in rows), default=1)
    timed = {row.name: row for row in rows if row.threads == threads and row.timing}
    head = ["mAP", "OF1@tuned", "M params", "M multiply-adds", "MB", f"ms, {threads_in_words(threads)}", "speedup"]
    cells = []
    if teacher := results.teacher:
        metrics = teacher.metrics or {}
        accuracy = [number(metrics.get("mAP")), number(metrics.get("OF1@tuned"))]
        size = [_millions(teacher.params), _millions(teacher.macs)]
        cells.append([f"teacher {teacher.model}", *accuracy, *size, DASH, DASH, DASH])
    student = results.model
    accuracy = [number(results.map_percent), number(results.metrics["OF1@tuned"])]
    size = [_millions(student.params), _millions(student.macs)]
    cells.append([f"student {student.model}, torch", *accuracy, *size, *_latency(timed.get(BASELINE))])
    for folder in run.artifacts():
        merged = Manifest.load(folder).merge.after
        size = [_millions(merged.params), _millions(merged.macs)]
        cells.append([f"student {folder.name}", DASH, DASH, *size, *_latency(timed.get(folder.name))])
    return Table([f"on {results.scored_on}", *head], cells, "lrrrrrrr")


def _millions(count: int | None) -> str:
    if count is None:
        return DASH
    return number(count / 1e6, 1)


def _latency(row: LatencyRow | None) -> list[str]:
    if row is None or row.timing is None:
        return [DASH, DASH, DASH]
    return [megabytes(row.size_bytes, 1), number(row.timing.median_ms), speedup_text(row.speedup)]
