"""Every target and precision for students distilled on real photos: size, accuracy, parity, latency.

    python benchmarks/targets.py RUN ... [--passes 5]

RUN is a finished run, whose data is where it was. For each: exports what is not there yet, times all artifacts in one
run next to torch eager and to what is exported without mlkdc, and writes its entry of benchmarks/results/targets.json.
A target that is not installed, or cannot run here, has a row that says why.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from baselines import write
from steps import STEPS
from study import with_placeholders
from study_records import Shipped, StudentEntry, StudyData, TargetsStudy, without_samples

from mlkdc.bench import Plan, Questions, artifact_rows, bench, eager_row
from mlkdc.data.runs import run_data, scored_split
from mlkdc.exporting import ExportOptions, choices, export_several
from mlkdc.records.bench import BenchFile
from mlkdc.records.manifest import Manifest
from mlkdc.records.run import EXPORT_FOLDER, Run, load_run

HERE = Path(os.path.relpath(Path(__file__).parent))
RESULTS = HERE / "results" / "targets.json"
THREADS = (1, 2)
#: Timed from their files.
PHOTOS = 64


def say(text: str) -> None:
    """A line of news, at once."""
    print(text, flush=True)


def export(run: Run, targets: Sequence[str] = ("all",), precisions: Sequence[str] = ("all",)) -> dict[str, str]:
    """Export what is not there yet; why there is no artifact, by name. One that fails its check stays, marked."""
    options = []
    for target, precision in choices(targets, precisions):
        if not has_artifact(run, target, precision):
            options.append(ExportOptions(target=target, precision=precision))
    missing = {}
    for option, result in export_several(run, options, say=say):
        assert option.precision is not None
        if isinstance(result, Exception) and not has_artifact(run, option.target, option.precision):
            missing[f"{option.target}-{option.precision}"] = str(result)
    return missing


def has_artifact(run: Run, target: str, precision: str) -> bool:
    """Whether it was exported, with whatever result."""
    return (run.path / EXPORT_FOLDER / f"{target}-{precision}" / Manifest.FILE).is_file()


def measure(run: Run, passes: int) -> BenchFile:
    """All artifacts of a run, torch eager and the steps before mlkdc, rows taking turns."""
    steps = [write(run, step, run.path / "baselines" / step) for step in STEPS]
    rows = [eager_row(run.path, run.weights), *artifact_rows([*steps, *run.artifacts()])]
    data = run_data(run)
    photos = [sample.image for sample in data.split(scored_split(data, run.recipe.data.train_splits))[:PHOTOS]]
    questions = {folder.name: Questions(photos=photos) for folder in run.artifacts()}
    plan = Plan(passes=passes, threads=THREADS, image_size=run.recipe.data.image_size)
    return bench(rows, plan, questions=questions, say=say)


def entry(run: Run, missing: Mapping[str, str], figures: BenchFile, placeholders: Mapping[str, str]) -> StudentEntry:
    """All that docs/targets.md shows of one student.

    Args:
        run: that was exported.
        missing: why there is no artifact, by its name.
        figures: of all artifacts.
        placeholders: words for paths of this machine.
    """
    # Messages name artifacts by their full path, which is longer than the table and of this machine.
    placeholders = {f"{run.path.resolve()}/{EXPORT_FOLDER}/": "", **placeholders}
    rows = []
    for row in without_samples(figures).rows:
        if row.skipped is not None:
            row = row.model_copy(update={"skipped": with_placeholders(row.skipped, placeholders)})
        rows.append(row)
    artifacts = {}
    for folder in run.artifacts():
        artifacts[folder.name] = Shipped.of(Manifest.load(folder))
    results = run.results
    return StudentEntry(
        bench=figures.model_copy(update={"rows": tuple(rows)}),
        commands=(with_placeholders(run.command, placeholders),),
        training_seconds=(results.training_seconds,),
        seed=run.recipe.seed,
        missing={name: with_placeholders(why, placeholders) for name, why in missing.items()},
        model=results.model,
        metrics=results.metrics,
        scored_on=results.scored_on,
        data=StudyData.of(results.data),
        artifacts=artifacts,
    )


def stored() -> TargetsStudy:
    """The study so far."""
    if not RESULTS.is_file():
        return TargetsStudy()
    return TargetsStudy.load_from(RESULTS)


def study(run: Run, passes: int) -> None:
    """Export, time, and write the entry of one student, after another process may have written others."""
    recipe = run.recipe
    placeholders = {recipe.data.path: "PHOTOS"}
    for model in (recipe.student, recipe.teacher):
        if model is not None and Path(model.weights).is_file():
            placeholders[str(Path(model.weights).parent)] = "WEIGHTS"
    missing = export(run)
    finished = entry(run, missing, measure(run, passes), placeholders)
    name = f"{recipe.student.model} on {run.results.data.name}"
    TargetsStudy(students={**stored().students, name: finished}).save_as(RESULTS)


def main() -> None:
    """One student after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--passes", type=int, default=Plan().passes)
    options = parser.parse_args()
    for folder in options.runs:
        study(load_run(folder), options.passes)


if __name__ == "__main__":
    main()
