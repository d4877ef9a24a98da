"""Which images a trained model is scored on: none that it was trained on, where that can be known."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlkdc.data import open_data
from mlkdc.data.listing import known_splits
from mlkdc.data.runs import (
    Say,
    aligned,
    is_forgotten,
    is_gone,
    moved,
    read_data,
    run_data,
    scored_split,
    with_data,
)
from mlkdc.errors import UsageError
from mlkdc.figures import counted
from mlkdc.recipe import Recipe
from mlkdc.records.images import ImageList
from mlkdc.records.run import Run
from mlkdc.types import TaggedImages


@dataclass(frozen=True)
class ScoredImages:
    """The images of one split of some data, whose labels are numbered as the model's."""

    data: TaggedImages
    split: str

    @property
    def paths(self) -> list[Path]:
        """Their files, in their order."""
        return [sample.image for sample in self.data.split(self.split)]


def images_of_run(run: Run, path: str | None, say: Say) -> ScoredImages:
    """Those that a finished run is scored on: its own, or those of other data. Raises as the two functions below."""
    if path is None:
        return own_images(run, say)
    return other_images(path, run.classes, run, say)


def own_images(run: Run, say: Say, moved_to: str | None = None) -> ScoredImages:
    """The images on which a finished run was scored; says what has changed since.

    ``moved_to``: where they are now, if they have moved.

    Raises:
        UsageError: they are not there any more, or an earlier version did not record which they are.
    """
    data, split = run_data(run, say, moved_to), run.results.scored_on
    if ImageList.load(run.path) is None and is_forgotten(data):
        raise UsageError(
            f"which images {run.path} was trained on is not recorded, so that it cannot be scored on the others: see "
            f"{run.path / run.results.FILE} for its figures, or name other images with --data PATH"
        )
    if split not in data.splits:
        raise UsageError(
            f"no image of the {split} split of {run.path} is left in {data.root}; name other images: --data PATH"
        )
    return ScoredImages(data, split)


def other_images(path: str, classes: Sequence[str], run: Run | None, say: Say) -> ScoredImages:
    """Images of other data than a run's, or of the same in another place: its test split, else its val split, else all.

    Images that the run was trained on are left out, by name or content, and its other images are in the split that they
    were in. They are read as the run's were, in its layout, with its separator and folder of images, where that fits.

    Args:
        path: of the data.
        classes: of the model.
        run: that the model is from; None where that is not known.
        say: hears what is left out, and what is not known.

    Raises:
        UsageError: no data there, labels that the model does not have, or no image that it was not trained on.
    """
    model, listed = "the model", None
    if run is None:
        data = aligned(open_data(path, split=False), classes, model)
    else:
        model, listed = f"the model in {run.path}", ImageList.load(run.path)
        data = _read_as(run, path, classes, model)
    _say_absent(data, say)
    if run is None or listed is None:
        say(f"which images {model} was trained on is not recorded: if some of {path} are, it scores too well on them")
        return ScoredImages(data, scored_split(data, trained=()))
    return _unseen(data, listed, run, say)


def _read_as(run: Run, path: str, classes: Sequence[str], model: str) -> TaggedImages:
    """Other data, read in the first way that gives the model's labels and finds an image."""
    faults: list[UsageError] = []
    without_images: list[TaggedImages] = []
    for recipe in _ways_to_read(run, path):
        try:
            data = aligned(read_data(recipe, split=False), classes, model)
        except UsageError as fault:
            faults.append(fault)
            continue
        if any(os.path.isfile(sample.image) for sample in data.samples):
            return data
        without_images.append(data)
    if without_images:
        return without_images[0]
    raise faults[0]


def _ways_to_read(run: Run, path: str) -> list[Recipe]:
    """As the run's data, with and without its folder of images; then as the files look."""
    own = moved(run.recipe, path)
    ways = [own, with_data(own, images=None)]
    is_own = Path(path).expanduser().resolve() == Path(run.recipe.data.path).expanduser().resolve()
    if not is_own and not is_gone(run):
        # Other data has other images; those of the run may have the same names.
        ways.reverse()
    ways.append(with_data(own, layout=None, separator=None, images=None))
    return [way for at, way in enumerate(ways) if way not in ways[:at]]


def _say_absent(data: TaggedImages, say: Say) -> None:
    """Labels without an image are no fault of other data, but their classes count in no mean."""
    seen: set[int] = set()
    for sample in data.samples:
        seen.update(sample.labels)
    absent = [name for number, name in enumerate(data.classes) if number not in seen]
    if absent:
        say(f"no image of {data.root} has the label {' or '.join(absent[:3])}{_more(absent[3:])}")


def _more(names: Sequence[str]) -> str:
    if not names:
        return ""
    return f" or one of {len(names)} more"


def _unseen(data: TaggedImages, listed: ImageList, run: Run, say: Say) -> ScoredImages:
    trained = run.recipe.data.train_splits
    kept = []
    left_out: Counter[str] = Counter()
    for sample, known in zip(data.samples, known_splits(data, listed), strict=True):
        if known is not None and known in trained:
            left_out[known] += 1
            continue
        kept.append(replace(sample, split=known or sample.split))
    if not kept:
        raise UsageError(
            f"{run.path} was trained on every one of the {counted(len(data.samples), 'image')} of {data.root}; "
            "name other images"
        )
    data = replace(data, samples=tuple(kept))
    split = scored_split(data, trained=())
    if left_out:
        count = counted(sum(left_out.values()), "image")
        say(f"left out by name or content: {count} of {data.root} that {run.path} was trained on")
    others = len(kept) - len(data.split(split))
    if others:
        say(f"not scored: {counted(others, 'image')} of {data.root} in other splits than {split}")
    return ScoredImages(data, split)
