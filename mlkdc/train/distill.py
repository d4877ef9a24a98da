"""`mlkdc distill` as a function: checked data, a teacher if the method needs one, training, results."""

from pathlib import Path

from mlkdc.data.runs import moved
from mlkdc.errors import Interrupted, UsageError
from mlkdc.losses import make_objective
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe, Teacher
from mlkdc.records.images import ImageList
from mlkdc.records.run import RECIPE_FILE, Run, new_run_folder
from mlkdc.report.teacher import weak_teacher
from mlkdc.train.compare import weak_teacher_before
from mlkdc.train.job import Job, build_initial, check_embeddings, train
from mlkdc.train.lock import claimed, locked
from mlkdc.train.plan import Plan, make_plan
from mlkdc.train.processes import agreed, is_main
from mlkdc.train.teacher import ReadyTeacher, attach_cache, load_teacher, teacher_folder, teacher_recipe


def distill(
    recipe: Recipe | None,
    *,
    out: Path | None = None,
    resume: Path | None = None,
    data: str | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> Run:
    """Train the recipe's student, with its teacher if the method needs one.

    A teacher is fine-tuned first, in a run folder next to the student's, unless it is there already; where another run
    is fine-tuning it, this one waits. A folder is locked while a training writes it. Under torchrun every process calls
    this with the same arguments; the main one writes.

    Args:
        recipe: what to train; None with ``resume``, which takes the folder's.
        out: an empty or absent folder; None makes a fresh one below ``runs/``.
        resume: the folder of a stopped run, to continue after its last completed epoch.
        data: with ``resume``: where the run's images are now, if they have moved.
        command: recorded in results.json.
        progress: hears of every step.

    Returns:
        The finished run: weights, results and log are in its folder.

    Raises:
        UsageError: unknown names, bad data, a method without its teacher, a folder in use, or a resumed run
            whose data has changed. Nothing was written.
        MlkdcError: a loss became NaN or the disk is full. Completed epochs are kept.
        Interrupted: Ctrl-C; the message says how to resume.

    Example:
        >>> from mlkdc import distill, load_recipe
        >>> small = ["data.digits_images=100", "data.image_size=32", "student.width=0.25", "train.epochs=1"]
        >>> run = distill(load_recipe("quickstart", [*small, "distill.method=vanilla", "train.batch_size=32"]))
        >>> run.path.as_posix(), run.results.scored_on
        ('runs/quickstart', 'test')
    """
    if progress is None or not is_main():
        progress = Progress()
    if resume is not None:
        return _resume(resume, data, command, progress)
    if recipe is None:
        raise UsageError("nothing to train: give a recipe, or a run folder to resume")
    name = recipe.name
    # Only the main process makes the folder: another one would find it made already.
    folder = agreed(lambda: new_run_folder(out, name))
    with claimed(folder):
        return _train_student(folder, recipe, command, progress)


def _resume(folder: Path, data: str | None, command: str, progress: Progress) -> Run:
    run = Run(folder)
    if not run.exists:
        raise UsageError(f"{folder} is not a run folder (no {RECIPE_FILE} in it); nothing to resume")
    if run.finished:
        progress.say(f"{folder} is already finished")
        return run
    recipe = run.recipe
    if data is not None:
        recipe = moved(recipe, data)
    with claimed(folder):
        return _train_student(folder, recipe, command, progress, begun=run)


def _train_student(folder: Path, recipe: Recipe, command: str, progress: Progress, begun: Run | None = None) -> Run:
    plan = make_plan(recipe, progress, begun)
    # Built before the teacher is trained, which takes long, so that a fault of its weights or sizes is reported now.
    initial = build_initial(plan.recipe.student, plan)
    if sentence := _slow_backbone(plan.recipe):
        progress.say(sentence)
    job = Job(Run(folder), plan, initial, command, progress)
    try:
        run = train(job, _ready_teacher(job))
    except KeyboardInterrupt:
        raise Interrupted(_after_interrupt(folder)) from None
    if is_main():
        for sentence in (weak_teacher(run.results), run.results.shared_threshold):
            if sentence is not None:
                progress.say(sentence)
                run.log(sentence)
    return run


def _slow_backbone(recipe: Recipe) -> str | None:
    rate = recipe.train.backbone_lr
    if recipe.student.weights != "none" or rate >= 1:
        return None
    return (
        f"train.backbone_lr={rate:g} spares pretrained weights, and this backbone starts from random ones: "
        "`--set train.backbone_lr=1` lets it learn as fast as the head"
    )


def _after_interrupt(folder: Path) -> str:
    if not Run(folder).exists:
        return "stopped before the training began; nothing was written"
    return f"stopped; completed epochs are kept: resume with `mlkdc distill --resume {folder}`"


def _ready_teacher(job: Job) -> ReadyTeacher | None:
    plan, spec = job.plan, job.plan.recipe.teacher
    if not plan.objective.needs_teacher:
        return None
    assert spec is not None  # as check_heads has found
    location = spec.source
    if location is None:
        location = str(_fine_tuned(job, spec))
    teacher = load_teacher(location, spec, plan)
    check_embeddings(teacher.source.model, teacher.facts.image_size, "teacher", plan)
    if sentence := weak_teacher_before(job.run, plan.recipe, teacher.facts):
        job.progress.say(sentence)
    if sentence := teacher.facts.leak:
        job.progress.say(sentence)
    elif not (teacher.weights.parent / ImageList.FILE).is_file():
        job.progress.say(
            f"which images the teacher in {location} was trained on is not recorded: if val or test images of this "
            "data are among them, the student can score too well on them"
        )
    own_fit, fit = teacher.source.model.preprocess.fit, plan.recipe.data.fit
    if own_fit != fit:
        job.progress.say(
            f"the teacher was trained with data.fit={own_fit} and is shown images with data.fit={fit}: expect worse "
            "answers than its figures say, or train both with one fit"
        )
    if spec.cache:
        attach_cache(teacher, plan, job.progress)
    return teacher


def _fine_tuned(job: Job, spec: Teacher) -> Path:
    """The run folder of the fine-tuned teacher, trained now if it is not there."""
    plan = job.plan
    recipe = teacher_recipe(plan.recipe, spec)
    run = Run(teacher_folder(job.run.path.resolve().parent, recipe, plan))
    if not agreed(lambda: run.finished):
        teacher_plan = Plan(recipe, make_objective(recipe.distill), plan.data, plan.skipped)
        # Before anything is written, so that a fault of the teacher's weights or sizes leaves no folder.
        initial = build_initial(spec, teacher_plan)
        check_embeddings(initial.model, recipe.data.image_size, "teacher", plan)
        # Fine-tuning takes long: from here on the student's run can be resumed.
        job.start()
        run.path.mkdir(parents=True, exist_ok=True)
        with locked(run.path, waiting=job.progress.say):
            # Another run may have made it while this one waited.
            if not agreed(lambda: run.finished):
                train(Job(run, teacher_plan, initial, f"fine-tuned for {plan.recipe.name}", job.progress), None)
                return run.path
    job.progress.say(f"teacher: reusing {run.path} (mAP {run.results.map_percent:.2f})")
    return run.path
