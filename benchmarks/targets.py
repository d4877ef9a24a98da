"""Every target and precision for students distilled on real photos: size, accuracy, parity, latency.

    python benchmarks/targets.py --data PHOTOS --weights WEIGHTS [--students mobilenetv2 ...] [--passes 5]

PHOTOS is a folder that `mlkdc data` understands, WEIGHTS one with tf_efficientnet_lite2.safetensors (ImageNet), of
which the teacher is made. For each student: trains and exports what is not there yet, times all artifacts in one run
next to torch eager and to what is exported without mlkdc, and writes its entry of benchmarks/results/targets.json. A
target that is not installed, or cannot run here, has a row that says why. Students that have an entry are skipped,
unless they are named.
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from baselines import write
from steps import STEPS
from study import set_options, with_placeholders
from study import train as run_training
from study_records import Shipped, StudentEntry, StudyData, TargetsStudy, without_samples

from mlkdc.bench import Plan, Questions, artifact_rows, bench, eager_row
from mlkdc.data.runs import run_data, scored_split
from mlkdc.exporting import ExportOptions, choices, export_several
from mlkdc.records.bench import BenchFile
from mlkdc.records.manifest import Manifest
from mlkdc.records.run import EXPORT_FOLDER, Run, load_run
from mlkdc.runtime.system import vnni

HERE = Path(os.path.relpath(Path(__file__).parent))
RESULTS = HERE / "results" / "targets.json"
STUDENTS = ("mobilenetv2", "repvgg_a0", "shufflenetv2_x1_0")
THREADS = (1, 2)
#: Timed from their files.
PHOTOS = 64


def say(text: str) -> None:
    """A line of news, at once."""
    print(text, flush=True)


def train(student: str, data: Path, weights: Path) -> list[Run]:
    """Both trainings, or what is left of them."""
    folder = Path("runs/targets")
    small, large = Run(folder / f"{student}-96"), Run(folder / student)
    teacher_weights = weights / "tf_efficientnet_lite2.safetensors"
    common = ["mlkdc", "distill", "--recipe", str(HERE / "targets.yaml"), "--data", str(data)]
    common += set_options([f"student.model={student}", f"teacher.weights={teacher_weights}"])
    # Most of the training was at a small size, with a fifth of the pixels.
    settings = ["data.image_size=224", f"student.weights={small.weights}", "train.epochs=2", "train.lr=5e-4"]
    if student == "repvgg_a0":  # see benchmarks/int8.py
        settings.append("export.equalize=true")
    if vnni():
        settings.append("export.reduce_range=false")
    for command, run in ((common, small), ([*common, *set_options(settings)], large)):
        if not run.finished:
            run_training([*command, "--out", str(run.path)], run.path)
    return [small, large]


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


def entry(
    trained: Sequence[Run], missing: Mapping[str, str], figures: BenchFile, placeholders: Mapping[str, str]
) -> StudentEntry:
    """All that docs/targets.md shows of one student.

    Args:
        trained: its runs; the last one is exported.
        missing: why there is no artifact, by its name.
        figures: of all artifacts.
        placeholders: words for paths of this machine.
    """
    run = load_run(trained[-1].path)
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
        commands=tuple(with_placeholders(training.command, placeholders) for training in trained),
        training_seconds=tuple(training.results.training_seconds for training in trained),
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


def main() -> None:
    """Train, export, measure, one student after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="*", type=Path, default=[])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--students", nargs="*", choices=STUDENTS)
    parser.add_argument("--passes", type=int, default=Plan().passes)
    options = parser.parse_args()
    placeholders = {str(options.data): "PHOTOS", str(options.weights): "WEIGHTS"}
    for folder in options.runs:
        run = load_run(folder)
        recipe = run.recipe
        of_run = {recipe.data.path: "PHOTOS", str(Path(recipe.student.weights).parent): "WEIGHTS"}
        study([run], f"{recipe.student.model} on {run.results.data.name}", options.passes, of_run)
    if options.runs:
        return
    done = stored().students
    for student in options.students or STUDENTS:
        if student not in done or options.students:
            study(train(student, options.data, options.weights), student, options.passes, placeholders)


def study(trained: Sequence[Run], student: str, passes: int, placeholders: Mapping[str, str]) -> None:
    """Export, time, and write the entry of one student, after another process may have written others."""
    missing = export(trained[-1])
    figures = measure(trained[-1], passes)
    finished = entry(trained, missing, figures, placeholders)
    TargetsStudy(students={**stored().students, student: finished}).save_as(RESULTS)


if __name__ == "__main__":
    main()
