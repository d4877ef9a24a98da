"""`mlkdc distill` as a function: checked data, a teacher if the method asks, training, results."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mlkdc.errors import Interrupted, UsageError
from mlkdc.losses import make_objective
from mlkdc.models import MultiLabelModel, build_model
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.resources import write_json
from mlkdc.train.allocator import keep_memory
from mlkdc.train.checkpoint import save_weights
from mlkdc.train.loop import Trainer
from mlkdc.train.plan import check_heads, check_names, checked_data, with_absolute_paths
from mlkdc.train.processes import agreed, is_main, several, wait
from mlkdc.train.runs import CHECKPOINT, RESULTS, WEIGHTS, Run, log_line, new_run_folder, start_run
from mlkdc.train.score import describe, provenance, score
from mlkdc.train.sources import TeacherSource, repeats_images
from mlkdc.train.teacher import attach_cache, load_teacher, teacher_folder, teacher_recipe
from mlkdc.types import TaggedImages


@dataclass(frozen=True)
class Job:
    """One training: where, what, on which checked data, by which command."""

    folder: Path
    recipe: Recipe
    data: TaggedImages
    skipped: list[str]
    command: str
    progress: Progress


def distill(
    recipe: Recipe | None,
    *,
    out: Path | None = None,
    resume: Path | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> Run:
    """Train the recipe's student, with its teacher if the method needs one.

    Under torchrun every process calls this with the same arguments; the first one writes.

    Args:
        recipe: what to train; None with ``resume``, which takes the folder's own.
        out: an empty or absent folder; None makes a fresh one below ``runs/``.
        resume: a run folder whose training goes on.
        command: recorded in results.json.
        progress: hears of every step.

    Raises:
        UsageError: unknown names, bad data, a method without its teacher, a folder in use.
        MlkdcError: a loss became NaN or the disk is full.
        Interrupted: Ctrl-C; the message says how to go on.
    """
    progress = progress if progress and is_main() else Progress()
    if resume is not None:
        if not (resume / "recipe.yaml").is_file():
            raise UsageError(f"{resume} is not a run folder (no recipe.yaml in it); nothing to resume")
        if Run(resume).finished:
            progress.say(f"{resume} is finished already")
            return Run(resume)
        recipe = Run(resume).recipe
    if recipe is None:
        raise UsageError("nothing to train: give a recipe, or a run folder to resume")
    recipe = with_absolute_paths(recipe)
    check_names(recipe)
    check_heads(recipe)
    needs_teacher = make_objective(recipe.distill).needs_teacher
    name = recipe.name
    folder = resume or agreed(lambda: new_run_folder(out, name))
    data, skipped = checked_data(recipe, progress)
    job = Job(folder, recipe, data, skipped, command, progress)
    _student(job)  # what is wrong with its weights or sizes is told before a teacher is trained
    try:
        teacher, facts = _teacher(job) if needs_teacher else (None, None)
        return _train(job, teacher, facts)
    except KeyboardInterrupt:
        way_on = f"go on with `mlkdc distill --resume {folder}`" if folder.is_dir() else "nothing had begun"
        raise Interrupted(f"stopped; whole epochs are kept: {way_on}") from None


def _student(job: Job) -> MultiLabelModel:
    torch.manual_seed(job.recipe.seed)
    return build_model(job.recipe.student, len(job.data.classes), job.recipe.data.image_size)


def _train(job: Job, teacher: TeacherSource | None, taught_by: dict[str, Any] | None) -> Run:
    recipe, folder = job.recipe, job.folder
    keep_memory()
    student = _student(job)
    run = _started(job)
    if is_main():
        log_line(folder, job.command or f"training {recipe.name}")
    job.progress.say(f"training {recipe.student.model} ({recipe.distill.method}) in {folder}")
    objective = make_objective(recipe.distill)
    trainer = Trainer(folder, recipe, student, job.data, objective, teacher, job.progress)
    facts = provenance(recipe, job.data, run.command, job.skipped, str(trainer.accelerator.device))
    seconds = trainer.train(resume=(folder / CHECKPOINT).is_file())
    if is_main():
        _finish(job, student, {**facts, "seconds": seconds, "teacher": taught_by})
    wait()
    return run


def _started(job: Job) -> Run:
    """The job's run folder, ready to be trained in."""
    if is_main():
        start_run(job.folder, job.recipe, job.data.classes, job.command)
    wait()
    return Run(job.folder)


def _finish(job: Job, student: MultiLabelModel, facts: dict[str, Any]) -> None:
    """Score the student and write its weights and results."""
    recipe, folder = job.recipe, job.folder
    scores = score(student, job.data, recipe.data.image_size, recipe.data.train_splits)
    student.cpu().to(memory_format=torch.contiguous_format).eval()
    save_weights(folder / WEIGHTS, student, {"classes": "\n".join(job.data.classes), "model": recipe.student.model})
    results = {**facts, "model": describe(recipe, student), **scores}
    write_json(folder / RESULTS, results)
    log_line(folder, f"done: mAP {results['metrics']['mAP']:.2f} on {results['scored_on']}")


def _teacher(job: Job) -> tuple[TeacherSource, dict[str, Any]]:
    spec = job.recipe.teacher
    assert spec is not None
    if spec.source is None:
        # What is wrong with the teacher's weights or size is told before anything is written.
        build_model(spec, len(job.data.classes), spec.image_size or job.recipe.data.image_size)
        # Fine-tuning takes long: from here on the run can be resumed.
        _started(job)
    source = spec.source or str(_fine_tuned(job))
    teacher, weights = load_teacher(source, spec, job.recipe, job.data)
    # It is kept in the order of whole batches: not by processes that see a share, nor where steps repeat images.
    repeats = repeats_images(make_objective(job.recipe.distill).sources)
    if spec.cache and not several() and not repeats:
        attach_cache(teacher, weights, job.recipe, job.data)
    facts: dict[str, Any] = {"model": spec.model, "image_size": teacher.image_size, "run": source}
    if Path(source).is_dir():
        results = Run(Path(source)).results
        facts |= {name: results["model"][name] for name in ("model", "params", "macs")}
        facts["metrics"] = results["metrics"]
    return teacher, facts


def _fine_tuned(job: Job) -> Path:
    assert job.recipe.teacher is not None
    recipe = teacher_recipe(job.recipe, job.recipe.teacher)
    folder = teacher_folder(job.folder.resolve().parent, recipe, job.data)
    if Run(folder).finished:
        job.progress.say(f"teacher: reusing {folder} (mAP {Run(folder).results['metrics']['mAP']:.2f})")
    else:
        command = f"fine-tuned for {job.recipe.name}"
        _train(Job(folder, recipe, job.data, job.skipped, command, job.progress), None, None)
    return folder
