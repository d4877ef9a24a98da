"""What a recipe asks for that a training would refuse, said before it reads any data."""

from mlkdc.data.check import SMALLEST_ALONE
from mlkdc.errors import RecipeError, UsageError
from mlkdc.losses import Objective, make_objective
from mlkdc.models import check_name, check_width
from mlkdc.recipe import Head, Model, Recipe, Teacher
from mlkdc.train.processes import count, on_cpu, several
from mlkdc.train.sources import check_sources, repeats_images

#: The kinds of head that have a key of a recipe's ``head``; all have the others.
HEADS_WITH = {
    "dim": ("compact", "decoder"),
    "ffn": ("compact", "decoder"),
    "heads": ("compact", "decoder"),
    "residual": ("attention",),
}


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
