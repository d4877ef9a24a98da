"""What a training needs, checked and built once: everything that can be found wrong before it begins."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mlkdc.data import EMBEDDED, fingerprint
from mlkdc.data.check import check_trainable, decode_all, unseen_labels
from mlkdc.data.runs import TrainingData, read_data, resumed_data
from mlkdc.data.summary import opening
from mlkdc.errors import UsageError
from mlkdc.figures import first_few
from mlkdc.losses import Objective
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.records.run import Run
from mlkdc.train.checks import check_batches, check_objective, check_precision
from mlkdc.types import Problem, TaggedImages

SHOWN_IMAGES = 20
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
