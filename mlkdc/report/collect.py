"""Gather everything a run folder holds into one record: the content of report.json and of both pages."""

import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlkdc import __version__
from mlkdc.errors import UsageError
from mlkdc.records.bench import BenchFile
from mlkdc.records.manifest import Manifest
from mlkdc.records.report import Missing, Report, ToShip
from mlkdc.records.results import METRICS_FILE, Results
from mlkdc.records.run import RECIPE_FILE, Run
from mlkdc.report.commands import commands
from mlkdc.report.latency import best_entry, latency_entries
from mlkdc.report.notes import notes

if TYPE_CHECKING:
    from mlkdc.bench.recommend import Budget


def collect(run_folder: Path, budget: "Budget | None" = None) -> Report:
    """Everything about one run. A part that was not made yet is None or empty.

    An artifact that cannot be read, or is damaged, does not stop the report: a note names it, and no table shows it.

    Args:
        run_folder: of a finished run.
        budget: what an artifact may take; None recommends nothing.

    Raises:
        UsageError: no results.json or recipe.yaml, or one of the run's files cannot be read; says what to run.
    """
    run = _finished_run(run_folder)
    # Commands in the report are to be pasted into a shell.
    quoted = shlex.quote(str(run_folder))
    results, bench = run.results, run.bench
    history = tuple(run.epochs)
    artifacts, unreadable = _read_artifacts(run)
    latency = latency_entries(bench, artifacts, results)
    missing = Missing(
        history=None if history else f"not recorded: there is no {METRICS_FILE} in {quoted}",
        artifacts=_missing_artifacts(artifacts, unreadable, quoted),
        bench=None if bench else f"not measured yet: run `mlkdc bench {quoted}`",
    )
    return Report(
        mlkdc_version=__version__,
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        run=str(run_folder),
        results=results,
        recipe=run.recipe,
        recipe_yaml=(run_folder / RECIPE_FILE).read_text(encoding="utf-8"),
        history=history,
        bench=bench,
        artifacts=artifacts,
        latency=latency,
        best=best_entry(latency),
        to_ship=_to_ship(bench, artifacts, budget),
        missing=missing,
        notes=notes(results, artifacts, unreadable, bench, history, run.recipe.distill, quoted),
        commands=commands(results, artifacts, bench, quoted, budget),
    )


def _to_ship(bench: BenchFile | None, artifacts: Mapping[str, Manifest], budget: "Budget | None") -> ToShip | None:
    if bench is None or budget is None:
        return None
    # The bench brings NumPy, which most commands that import this package do not need.
    from mlkdc.report.ship import to_ship

    return to_ship(bench, artifacts, budget)


def _finished_run(run_folder: Path) -> Run:
    """A run that was scored. Its weights are not asked for: a folder copied without them can still be reported on."""
    run = Run(run_folder)
    if not run.exists:
        raise UsageError(f"{run_folder} is not a run folder (no {RECIPE_FILE} in it); `mlkdc distill` makes one")
    if not (run_folder / Results.FILE).is_file():
        raise UsageError(
            f"{run_folder} has no {Results.FILE} yet; "
            f"finish its training: `mlkdc distill --resume {shlex.quote(str(run_folder))}`"
        )
    return run


def _read_artifacts(run: Run) -> tuple[dict[str, Manifest], dict[str, str]]:
    """Manifests by folder name; and for those that cannot be read, why and what to do."""
    readable: dict[str, Manifest] = {}
    unreadable: dict[str, str] = {}
    for folder in run.artifacts():
        try:
            manifest = Manifest.load(folder)
            manifest.check_run(folder)
            # A run can be reported on that was copied without its models; but not as sound where they are damaged.
            if any((folder / name).exists() for name in manifest.files):
                manifest.verify(folder)
        except UsageError as error:
            # One artifact of an older version must not hide what is known about the others.
            unreadable[folder.name] = str(error)
        else:
            readable[folder.name] = manifest
    return readable, unreadable


def _missing_artifacts(artifacts: Mapping[str, Manifest], unreadable: Mapping[str, str], quoted_run: str) -> str | None:
    if artifacts:
        return None
    export = f"mlkdc export {quoted_run} --target onnx"
    if unreadable:
        return f"none can be read: run `{export}` again"
    return f"not exported yet: run `{export}`"
