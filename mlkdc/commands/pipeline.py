"""The commands as functions, where they join several layers; `run_all` is all of them in a row."""

import json
import sys
from pathlib import Path
from typing import Any

from mlkdc.bench import BASELINE, Row, artifact_rows, bench
from mlkdc.commands.artifacts import artifact_lines, artifacts
from mlkdc.errors import RecipeError, UsageError
from mlkdc.exporting import export_run
from mlkdc.progress import Progress
from mlkdc.recipe import Bench, Recipe
from mlkdc.records.manifest import Manifest
from mlkdc.records.run import Run, load_run
from mlkdc.report import write_report
from mlkdc.resources import write_json
from mlkdc.runtime.targets import load_target, split_name
from mlkdc.train import distill
from mlkdc.train.plan import check_names
from mlkdc.train.score import evaluate_run as evaluate_run


def check_recipe(recipe: Recipe) -> None:
    """Raise one RecipeError for every name in the recipe that nothing here knows."""
    faults = []
    try:
        check_names(recipe)
    except RecipeError as error:
        faults += error.faults
    for target in recipe.targets:
        try:
            split_name(target)
        except UsageError as error:
            faults.append(f"targets: {error}")
    if faults:
        raise RecipeError(faults, recipe.name)


def run_all(
    recipe: Recipe | None,
    *,
    out: Path | None = None,
    resume: Path | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> tuple[Run, Path]:
    """Teacher, student, export to each of the recipe's targets, latency, report.

    Arguments are those of :func:`mlkdc.train.distill`. Returns the run and the path of its HTML report.

    Raises:
        UsageError, MlkdcError: as each step does; what the steps before it wrote stays.
    """
    progress = progress or Progress()
    if recipe is not None:
        check_recipe(recipe)
        for target in recipe.targets:  # now, not after the training
            name, precision = split_name(target)
            spec = load_target(name)
            spec.check_range(precision, recipe.export.reduce_range)
            spec.check_installed()
    run = distill(recipe, out=out, resume=resume, command=command, progress=progress)
    for target in run.recipe.targets:
        progress.say(f"exporting to {target}")
        name, precision = split_name(target)
        folder = export_run(run, name, precision=precision, say=progress.say)
        for line in artifact_lines(Manifest.load(folder)):
            progress.say(f"  {line}")
    progress.say("measuring latency")
    bench_paths([run.path], command=command, progress=progress)
    return run, write_report(run.path)


def bench_paths(
    paths: list[Path],
    *,
    runs: int | None = None,
    passes: int | None = None,
    threads: list[int] | None = None,
    out: Path | None = None,
    command: str,
    progress: Progress,
) -> tuple[dict[str, Any], Path]:
    """Time run folders (torch eager and all their artifacts) and artifact folders, side by side.

    The figures go to ``out``; without it to the run's bench.json if one run is all there is, else to ``bench.json``.
    What is not given comes from that run's recipe.
    """
    folders, rows, sizes, target, spec = [], [], set(), out, Bench()
    for path in paths:
        if (path / "manifest.json").is_file():
            folders.append(path)
            continue
        run = load_run(path)
        folders += artifacts(run)
        name = BASELINE if len(paths) == 1 else f"{path.name}/{BASELINE}"
        weights = (path / "model.safetensors").stat().st_size
        rows.append(Row(name, [sys.executable, "-m", "mlkdc.train.eager", str(path)], weights))
        sizes.add(run.recipe.data.image_size)
        if len(paths) == 1:
            target, spec = target or path / "bench.json", run.recipe.bench
    rows += artifact_rows(folders)
    sizes |= {Manifest.load(folder).image_size for folder in folders}
    figures = bench(
        rows,
        runs=runs or spec.runs,
        passes=passes or spec.passes,
        threads=threads or spec.threads,
        image_size=sizes.pop() if len(sizes) == 1 else None,
        command=command,
        progress=progress.say,
    )
    target = target or Path("bench.json")
    write_json(target, figures)
    return figures, target


def bench_table(figures: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of bench.json for people."""
    header = ["model", "threads", "median ms", "p90", "p99", "MB", "speed-up", ""]
    rows = []
    for row in figures["rows"]:
        cells = [row["name"], str(row["threads"])]
        if row["skipped"]:
            rows.append([*cells, "-", "-", "-", "-", "-", f"skipped: {row['skipped']}"])
            continue
        cells += [f"{row[key]:.2f}" for key in ("median_ms", "p90_ms", "p99_ms")]
        cells.append("-" if row["size_bytes"] is None else f"{row['size_bytes'] / 1e6:.1f}")
        cells.append("-" if row["speedup"] is None else f"{row['speedup']:.2f}x")
        rows.append([*cells, "" if row["stable"] else "unstable"])
    return header, rows


def summary_rows(run: Run) -> tuple[list[str], list[list[str]]]:
    """The closing table of `mlkdc run`: teacher, student and each artifact, with accuracy, size and latency."""
    results = run.results
    figures = json.loads((run.path / "bench.json").read_text())["rows"]
    threads = max(row["threads"] for row in figures)
    latency = {row["name"]: row for row in figures if row["threads"] == threads and not row["skipped"]}
    header = [
        f"on {results['scored_on']}",
        "mAP",
        "OF1@tuned",
        "M params",
        "M multiply-adds",
        "MB",
        f"ms, {threads} threads",
        "speed-up",
    ]
    rows = []
    if teacher := results["teacher"]:
        scores = teacher.get("metrics", {})
        known = [f"{scores[key]:.2f}" if key in scores else "-" for key in ("mAP", "OF1@tuned")]
        size = [f"{teacher[key] / 1e6:.1f}" if key in teacher else "-" for key in ("params", "macs")]
        rows.append([f"teacher {teacher['model']}", *known, *size, "-", "-", "-"])
    student, scores = results["model"], results["metrics"]
    known = [f"{scores['mAP']:.2f}", f"{scores['OF1@tuned']:.2f}"]
    size = [f"{student['params'] / 1e6:.1f}", f"{student['macs'] / 1e6:.1f}"]
    rows.append([f"student {student['model']}, torch", *known, *size, *_latency(latency.get(BASELINE))])
    for folder in artifacts(run):
        manifest = Manifest.load(folder)
        merged = [f"{manifest.merge[f'{key}_after'] / 1e6:.1f}" for key in ("params", "macs")]
        rows.append([f"student {folder.name}", "-", "-", *merged, *_latency(latency.get(folder.name))])
    return header, rows


def _latency(row: dict[str, Any] | None) -> list[str]:
    if row is None:
        return ["-", "-", "-"]
    speedup = "-" if row["speedup"] is None else f"{row['speedup']:.2f}x"
    return [f"{row['size_bytes'] / 1e6:.1f}", f"{row['median_ms']:.2f}", speedup]
