"""The data of a run: found again as it was when the run began, with what has changed since said or refused."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlkdc.data import EMBEDDED, open_data
from mlkdc.data.listing import as_listed
from mlkdc.data.names import base_folder
from mlkdc.data.split import MADE_HERE
from mlkdc.errors import UsageError
from mlkdc.figures import counted, first_few
from mlkdc.recipe import Recipe
from mlkdc.records.images import ImageList
from mlkdc.records.run import Run
from mlkdc.types import Box, Sample, TaggedImages

SHOWN_LABELS = 4

Say = Callable[[str], None]
#: Where nobody else shows what is said: Python prints warnings on standard error.
warn: Say = logging.getLogger(__name__).warning


def read_data(recipe: Recipe, *, split: bool = True) -> TaggedImages:
    """The data a recipe names. How it is split, and the embedded data, do not depend on the run's seed.

    ``split``: as of :func:`mlkdc.data.open_data`.
    """
    spec = recipe.data
    return open_data(
        spec.path,
        layout=spec.layout,
        separator=spec.separator,
        images=spec.images,
        seed=0,
        digits_images=spec.digits_images,
        split=split,
    )


def with_data(recipe: Recipe, **changes: str | None) -> Recipe:
    """The recipe with other values in its section ``data``."""
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=changes)})


def moved(recipe: Recipe, path: str) -> Recipe:
    """The recipe of a run whose data is at ``path`` now.

    A folder of images that is not there any more has moved along if there is one where it lay as seen from the data.
    If not, the images are looked for where the labels say and below the data.
    """
    images = recipe.data.images
    if images is not None and not _is_there(images):
        along = os.path.relpath(images, recipe.data.path)
        images = os.path.normpath(os.path.join(Path(path).expanduser(), along))
        if not os.path.isdir(images):
            images = None
    return with_data(recipe, path=path, images=images)


def is_gone(run: Run) -> bool:
    """Whether the data of a run, or the folder of its images, is not where it was."""
    return missing_path(run.recipe) is not None


def missing_path(recipe: Recipe) -> str | None:
    """Where the data should be, or the folder of its images, if nothing is there."""
    spec = recipe.data
    if spec.path == EMBEDDED:
        return None
    if not _is_there(spec.path):
        return spec.path
    if spec.images is not None and not _is_there(spec.images):
        return spec.images
    return None


def _is_there(path: str) -> bool:
    """An empty folder is where a disk is not mounted."""
    place = Path(path).expanduser()
    return os.path.exists(place) and not (os.path.isdir(place) and not os.listdir(place))


def _read_again(run: Run, recipe: Recipe, *, split: bool) -> TaggedImages:
    """The data of a run, which can have moved since it was trained."""
    path, what = missing_path(recipe), "the data"
    if path is not None:
        if path == recipe.data.images:
            what = "the folder of the images"
        raise UsageError(f"{path}, {what} of {run.path}, is not there; if it has moved, say where it is: --data PATH")
    return read_data(recipe, split=split)


def run_data(run: Run, say: Say = warn, moved_to: str | None = None) -> TaggedImages:
    """The images of a run, each in the split that it was in when the run began; says what has changed since.

    Images that are new are in no split, and left out; so are those that were skipped.

    Args:
        run: finished.
        say: hears what has changed.
        moved_to: where its data is now, if it has moved.

    Raises:
        UsageError: the data is missing, or has labels that the model does not have.
    """
    recipe = run.recipe
    if moved_to is not None:
        recipe = moved(recipe, moved_to)
    listed = ImageList.load(run.path)
    if listed is None:
        return _unlisted_data(run, recipe, say)
    data = aligned(_read_again(run, recipe, split=False), run.classes, f"the model in {run.path}")
    data, changes = as_listed(data, listed)
    if not data.samples:
        raise UsageError(
            f"none of the {counted(len(listed.images), 'image')} of {run.path} is in {data.root} ({changes.all}); "
            "if they are elsewhere now, say where: --data PATH"
        )
    if changes.all:
        say(f"{data.root} has changed since {run.path} was trained: {changes.all}")
    return data


def _unlisted_data(run: Run, recipe: Recipe, say: Say) -> TaggedImages:
    """Of a run of an earlier version, which did not list its images."""
    data = aligned(_read_again(run, recipe, split=True), run.classes, f"the model in {run.path}")
    if run.finished:
        data = _without(data, run.results.data.skipped)
    if is_forgotten(data):
        say(
            f"{run.path} is of an earlier version, which split {data.root} otherwise and did not record how: "
            "the model may have been trained on any of these images"
        )
    return data


def is_forgotten(data: TaggedImages) -> bool:
    """Whether data of a run that has no list was split in a way that is not known any more."""
    return data.split_from.startswith(MADE_HERE)


def _without(data: TaggedImages, skipped: Sequence[str]) -> TaggedImages:
    """The data without the images of these paths."""
    paths = set(skipped)
    samples = tuple(sample for sample in data.samples if str(sample.image) not in paths)
    return replace(data, samples=samples)


@dataclass(frozen=True)
class TrainingData:
    """The images of a training that begins or goes on.

    Args:
        data: of a stopped training: as it began with them.
        skipped: paths of unreadable images that were left out then.
        compared: whether they are known to be those that the training began with.
    """

    data: TaggedImages
    skipped: tuple[str, ...] = ()
    compared: bool = True


def resumed_data(run: Run, recipe: Recipe, say: Say) -> TrainingData:
    """The images of a run whose training was stopped; writes nothing.

    Args:
        run: the folder.
        recipe: its recipe, with the place where the data is now.
        say: hears of new images, which are not used.

    Raises:
        UsageError: the images, their labels or the list of labels are not those that the training began with.
    """
    what = f"the training in {run.path}"
    listed = ImageList.load(run.path)
    if listed is None:
        data = _read_again(run, recipe, split=True)
        check_labels(data, run.classes, what)
        if is_forgotten(data):
            raise UsageError(
                f"{run.path} was begun by an earlier version, which split {data.root} otherwise and did not record "
                "how: resumed, it would be scored on images that it was trained on. Train again in another folder"
            )
        say(f"{run.path} was begun by an earlier version: whether its images have changed since cannot be checked")
        return TrainingData(data, compared=False)
    data = aligned(_read_again(run, recipe, split=False), run.classes, what)
    data, changes = as_listed(data, listed, read=True)
    if changes.of_listed:
        raise UsageError(
            f"{data.root} has changed since {what} began: {changes.of_listed}. Restore what it was (if it has moved: "
            "--data PATH), or train again in another folder"
        )
    if changes.harmless:
        say(f"{data.root} has changed since {what} began: {changes.harmless}")
    base = base_folder(data)
    return TrainingData(data, tuple(str(base / name) for name in listed.skipped))


def aligned(data: TaggedImages, classes: Sequence[str], what: str) -> TaggedImages:
    """The same images with their labels numbered as a model numbers them.

    Args:
        data: with any of the model's labels, in any order.
        classes: the model's.
        what: names the model, for the message.

    Raises:
        UsageError: the data has a label that the model does not have.
    """
    if tuple(classes) == data.classes:
        return data
    if not set(data.classes) <= set(classes):
        check_labels(data, classes, what)
    number = {name: index for index, name in enumerate(classes)}
    numbers = [number[name] for name in data.classes]
    samples = tuple(_renumbered(sample, numbers) for sample in data.samples)
    return replace(data, classes=tuple(classes), samples=samples)


def _renumbered(sample: Sample, numbers: Sequence[int]) -> Sample:
    boxes = []
    for box in sample.boxes:
        boxes.append(Box(numbers[box.label], box.left, box.top, box.right, box.bottom))
    labels = tuple(sorted(numbers[label] for label in sample.labels))
    return replace(sample, labels=labels, boxes=tuple(boxes))


def check_labels(data: TaggedImages, classes: Sequence[str], what: str) -> None:
    """Raise UsageError unless ``data`` has exactly these labels in this order; ``what`` names the model."""
    if tuple(classes) == data.classes:
        return
    only_in_data = sorted(set(data.classes) - set(classes))
    only_in_model = sorted(set(classes) - set(data.classes))
    differences = []
    if only_in_data:
        differences.append(f"{len(only_in_data)} only in the data ({first_few(only_in_data, SHOWN_LABELS)})")
    if only_in_model:
        differences.append(f"{len(only_in_model)} only in the model ({first_few(only_in_model, SHOWN_LABELS)})")
    if not differences:
        raise UsageError(f"{what} and {data.root} have the same labels in another order; add a classes.txt to the data")
    raise UsageError(
        f"{what} has {len(classes)} labels, {data.root} has {len(data.classes)}: {'; '.join(differences)}. "
        "Use data with the same labels, or train on this data"
    )


def scored_split(data: TaggedImages, trained: Sequence[str]) -> str:
    """The split to score on: test, else val, of those not trained on; else the first one."""
    for name in ("test", "val"):
        if name in data.splits and name not in trained:
            return name
    return data.splits[0]


def tuning_split(data: TaggedImages, trained: Sequence[str]) -> str:
    """The split on which per-class thresholds are tuned: val unless it was trained on, else the scored one."""
    if "val" in data.splits and "val" not in trained:
        return "val"
    return scored_split(data, trained)
