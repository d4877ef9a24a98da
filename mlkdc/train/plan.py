"""What a training needs, checked and built once: everything that can be found wrong before it begins."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mlkdc.data import EMBEDDED, fingerprint
from mlkdc.data.check import SMALLEST_ALONE, check_trainable, decode_all, unseen_labels
from mlkdc.data.runs import TrainingData, read_data, resumed_data
from mlkdc.data.summary import opening
from mlkdc.errors import RecipeError, UsageError
from mlkdc.figures import first_few
from mlkdc.losses import Objective, make_objective
from mlkdc.models import check_name, check_width
from mlkdc.progress import Progress
from mlkdc.recipe import Head, Model, Recipe, Teacher
from mlkdc.records.run import Run
from mlkdc.train.processes import count, on_cpu, several
from mlkdc.train.sources import check_sources, repeats_images
from mlkdc.types import Problem, TaggedImages

SHOWN_IMAGES = 20
#: The kinds of head that have a key of a recipe's ``head``; all have the others.
HEADS_WITH = {
    "dim": ("compact", "decoder"),
    "ffn": ("compact", "decoder"),
    "heads": ("compact", "decoder"),
    "residual": ("attention",),
}
SHOWN_LABELS = 8


@dataclass(frozen=True)
class Plan:
    """A training whose recipe and data are known to be usable.

    Args:
        recipe: its paths are absolute.
        objective: what to minimize; for one training, as it can hold layers that are trained along.
        data: every image of it opens.
        skipped: paths of the images that do not, which the recipe allows to skip.
    """

    recipe: Recipe
    objective: Objective
    data: TaggedImages
    skipped: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """Of the data, whose files are read once for it."""
        return fingerprint(self.data)


def make_plan(recipe: Recipe, progress: Progress, run: Run | None = None) -> Plan:
    """Check a recipe and read its data; writes nothing.

    Args:
        recipe: resolved, not checked by any layer yet.
        progress: hears of problems of the data that do not stop the training.
        run: whose training is resumed; None where a new one begins.

    Raises:
        RecipeError: names that no layer knows, all of them at once.
        UsageError: a method without its teacher, a head without the outputs that the method compares, mixed images for
            terms that need plain labels, fp16 on a CPU, bad data, or data that has changed since the run began.
    """
    recipe = with_absolute_paths(recipe)
    objective = check_objective(recipe)
    # Not of the recipe alone: another machine may have what this one lacks.
    check_precision(recipe, objective)
    data, skipped = checked_data(recipe, progress, run)
    check_batches(recipe, objective, sum(len(data.split(name)) for name in recipe.data.train_splits))
    return Plan(recipe, objective, data, skipped)


def check_objective(recipe: Recipe) -> Objective:
    """The recipe's objective, where all that a training needs of its recipe is known to be there.

    Raises:
        RecipeError, UsageError: as the single checks below.
    """
    objective = check_names(recipe)
    check_heads(recipe, objective)
    check_mixing(recipe, objective)
    check_processes(recipe)
    check_batches(recipe, objective)
    return objective


def check_names(recipe: Recipe) -> Objective:
    """The recipe's objective, where all names of models, methods, terms and options are known.

    Raises:
        RecipeError: one fault for each unknown name.
    """
    objective = None
    faults = _model_faults("student", recipe.student)
    try:
        objective = make_objective(recipe.distill)
    except RecipeError as error:
        faults += error.faults
    except UsageError as error:
        faults.append(f"distill: {error}")
    faults += _head_faults("student.head", recipe.student.head)
    if recipe.teacher is not None:
        faults += _model_faults("teacher", recipe.teacher)
        faults += _head_faults("teacher.head", recipe.teacher.head)
    if faults or objective is None:
        raise RecipeError(faults, recipe.name)
    return objective


def _model_faults(section: str, network: Model) -> list[str]:
    try:
        check_name(network.model)
    except UsageError as error:
        return [f"{section}.model: {error}"]
    try:
        check_width(network.model, network.width)
    except UsageError as error:
        return [f"{section}.{error}"]
    return []


def _head_faults(section: str, head: Head) -> list[str]:
    """Keys that were given another value than their default, and that this kind of head does not have."""
    faults = []
    for key, kinds in HEADS_WITH.items():
        value = getattr(head, key)
        if head.kind not in kinds and value != Head.model_fields[key].default:
            faults.append(f"{section}.{key}={value} says nothing of kind {head.kind}; leave it out, or use {kinds[0]}")
    return faults


def check_heads(recipe: Recipe, objective: Objective) -> None:
    """Check that the recipe's models have the outputs that its objective compares.

    Teacher and student may have different heads and sizes of embeddings: only distances between the embeddings of one
    model are compared with those of the other.

    Raises:
        UsageError: a method without its teacher, or whose embeddings or samples a head does not have.
    """
    method, teacher = recipe.distill.method, recipe.teacher
    if objective.needs_teacher and teacher is None:
        raise UsageError(f"the method {method!r} needs a teacher: `--teacher MODEL`, a run or a file")
    check_sources(objective.sources, recipe)
    models = {"student": recipe.student}
    if teacher is not None:
        models["teacher"] = teacher
    for name, model in models.items():
        if f"{name}.embeddings" in objective.needs and model.head.kind == "linear":
            raise UsageError(
                f"{name}.head.kind is linear, which has no label-wise embeddings; {method} needs them: "
                f"`--set {name}.head.kind=attention` (teacher and student may have different heads)"
            )


def check_mixing(recipe: Recipe, objective: Objective) -> None:
    """Check that all terms can take the labels of mixed images.

    Raises:
        UsageError: one cannot.
    """
    if not recipe.data.augment.mixes:
        return
    hard = []
    for name, term in objective.terms.items():
        if term.uses_labels and not term.soft_labels:
            hard.append(name)
    if hard:
        instead = "choose a method without: `--set distill.method=mld`"
        if hard == [recipe.distill.base]:
            instead = "`--set distill.base=bce`"
        raise UsageError(
            f"data.augment.mixup and cutmix make labels between 0 and 1, which {', '.join(hard)} cannot take; "
            f"set both to 0, or {instead}"
        )


def check_processes(recipe: Recipe) -> None:
    """Check that several processes, where there are some, can do the training.

    Raises:
        UsageError: the backbone is not trained from the first step on.
    """
    sections = {"train": recipe.train}
    if recipe.teacher is not None:
        sections["teacher.train"] = recipe.teacher.train
    for name, section in sections.items():
        # DistributedDataParallel waits for the gradient of every parameter that it was given.
        if section.head_first and several():
            raise UsageError(
                f"{name}.head_first trains in one process, and there are several; `--set {name}.head_first=0`"
            )


def _trained_teacher(recipe: Recipe, objective: Objective) -> Teacher | None:
    """The teacher, where it is fine-tuned before the student."""
    if recipe.teacher is not None and objective.needs_teacher and recipe.teacher.source is None:
        return recipe.teacher
    return None


def check_precision(recipe: Recipe, objective: Objective) -> None:
    """Check that this machine trains in the recipe's precision.

    Raises:
        UsageError: fp16 on a CPU, where it would be ignored without a word.
    """
    sections = {"train": recipe.train}
    if teacher := _trained_teacher(recipe, objective):
        sections["teacher.train"] = teacher.train
    for name, section in sections.items():
        if section.precision == "fp16" and on_cpu():
            raise UsageError(
                f"{name}.precision=fp16 needs an accelerator, and this machine trains on its CPU; use bf16 or fp32: "
                f"`--set {name}.precision=bf16`"
            )


def check_batches(recipe: Recipe, objective: Objective, images: int | None = None) -> None:
    """Check that the batches, of a teacher that is fine-tuned too, can be divided as they will be.

    Args:
        recipe: of the student.
        objective: its own.
        images: how many there are to train on, once that is known.

    Raises:
        UsageError: processes and repeated images cannot share a batch of this size, or with one small image each.
    """
    halves = 1 + repeats_images(objective.sources)
    _check_batch("train", recipe.train.batch_size, halves, recipe.data.image_size, images)
    if teacher := _trained_teacher(recipe, objective):
        image_size = teacher.image_size or recipe.data.image_size
        _check_batch("teacher.train", teacher.train.batch_size, 1, image_size, images)


def _check_batch(section: str, size: int, halves: int, image_size: int, images: int | None) -> None:
    processes, key = count(), f"{section}.batch_size"
    parts = processes * halves
    shared = f"{parts} equal parts (processes, and halves where each step repeats half of the last one)"
    if size % parts:
        raise UsageError(f"{key} {size} cannot be shared by {shared}; choose a multiple of that")
    # The first step of an epoch has nothing to repeat.
    if size == parts and image_size < SMALLEST_ALONE:
        raise UsageError(
            f"{key}: expected at least {2 * parts} for {shared}, got {size}: a single image at {image_size} pixels has "
            f"no batch statistics; `--set {key}={2 * parts}`, or images of {SMALLEST_ALONE} pixels"
        )
    # One process makes a smaller batch of them; several would fill it up with images that come twice.
    if images is not None and processes > 1 and images < size // halves:
        instead = "train in one process"
        if images >= processes:
            instead = f"`--set {key}={images // processes * parts}`, or {instead}"
        raise UsageError(
            f"{key} {size} takes {size // halves} images for a step, and there are {images} to train on, which "
            f"{processes} processes cannot share equally; {instead}"
        )


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe with every path that exists made absolute, so that its run can be used from any folder."""
    recipe = recipe.model_copy(deep=True)
    if recipe.data.path != EMBEDDED:
        recipe.data.path = _absolute(recipe.data.path)
    if recipe.data.images is not None:
        recipe.data.images = _absolute(recipe.data.images)
    for model in (recipe.student, recipe.teacher):
        if model is not None and model.weights not in ("pretrained", "none"):
            model.weights = _absolute(model.weights)
    teacher = recipe.teacher
    if teacher is not None and teacher.source:
        teacher.source = _absolute(teacher.source)
    if teacher is not None and teacher.classes not in (None, "data"):
        teacher.classes = _absolute(teacher.classes)
    return recipe


def _absolute(text: str) -> str:
    path = Path(text).expanduser()
    if not path.exists():
        return text  # whoever opens it reports it as the user wrote it
    return str(path.resolve())


def _how_read(recipe: Recipe) -> list[str]:
    """What the recipe says of reading its data, as options of ``mlkdc data``."""
    options = {"--layout": recipe.data.layout, "--separator": recipe.data.separator, "--images": recipe.data.images}
    return [part for option, value in options.items() if value is not None for part in (option, value)]


def checked_data(recipe: Recipe, progress: Progress, run: Run | None = None) -> tuple[TaggedImages, tuple[str, ...]]:
    """The recipe's data, where every image is known to open, and the paths of those that were skipped.

    Raises:
        UsageError: a missing split, bad images and no ``data.skip_bad``, a label that training never sees, or data
            that has changed since ``run`` began.
    """
    begun = _data_to_train_on(recipe, progress, run)
    data = begun.data
    for name in recipe.data.train_splits:
        if name not in data.splits:
            raise UsageError(f"{data.root} has no {name} split; it has: {', '.join(data.splits)}")
    # All of them are decoded now: in the middle of a training is too late to learn that one does not open.
    decoding = decode_all(data.samples)
    bad = decoding.problems
    for line in opening(data, [*bad, *decoding.dark], _how_read(recipe)):
        progress.say(f"data: {line}")
    # An image that the training began with cannot be skipped later on.
    if bad and (begun.compared or not recipe.data.skip_bad):
        raise UsageError(_bad_images(bad, len(data.samples)))
    skipped = list(begun.skipped)
    for problem in bad:
        progress.say(f"skipped: {problem}")
        skipped.append(problem.where)
    paths = set(skipped)
    readable = tuple(sample for sample in data.samples if str(sample.image) not in paths)
    data = replace(data, samples=readable)
    for name in recipe.data.train_splits:
        if name not in data.splits:
            raise UsageError(
                f"{data.root}: none of the {name} images can be read, and all of them are skipped: nothing is left to "
                f"train on; the first one: {bad[0]}"
            )
    check_trainable(data, recipe.data.train_splits, recipe.data.image_size)
    _check_seen(data, recipe)
    return data, tuple(skipped)


def _data_to_train_on(recipe: Recipe, progress: Progress, run: Run | None) -> TrainingData:
    if run is not None:
        return resumed_data(run, recipe, progress.say)
    return TrainingData(read_data(recipe), compared=False)


def _bad_images(bad: list[Problem], images: int) -> str:
    lines = [str(problem) for problem in bad[:SHOWN_IMAGES]]
    if len(bad) > SHOWN_IMAGES:
        lines.append(f"... and {len(bad) - SHOWN_IMAGES} more")
    listed = "\n  ".join(lines)
    return f"{len(bad)} of {images} images cannot be used; fix them, or skip them with `--skip-bad`:\n  {listed}"


def _check_seen(data: TaggedImages, recipe: Recipe) -> None:
    if recipe.data.allow_unseen:
        return
    # A label is a problem of each split that has it.
    names = list(dict.fromkeys(problem.where for problem in unseen_labels(data, recipe.data.train_splits)))
    if not names:
        return
    listed = first_few(names, SHOWN_LABELS)
    raise UsageError(
        f"labels of other splits that are never in {'+'.join(recipe.data.train_splits)} cannot be learned: {listed}. "
        "Move images with them there, remove the labels, or train all the same: "
        "`--set data.allow_unseen=true`"
    )
