"""What is wrong with a data set."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlkdc.data.groups import same_content
from mlkdc.errors import UsageError
from mlkdc.figures import counted
from mlkdc.images import decode
from mlkdc.types import Problem, Sample, TaggedImages

UNSEEN = "label never seen in training"


#: 16-bit images whose values stay below this are of 12 bits and look almost black.
TWELVE_BITS = 1 << 12
#: Pixels at which the last feature map of a network has more than one position.
SMALLEST_ALONE = 64
#: Of so few, all can have a label by chance, and scores mean little in any case.
FEW_IMAGES = 10


@dataclass(frozen=True)
class Decoding:
    """What decoding all images showed.

    Args:
        problems: one per file that is missing or cannot be used.
        modes: number of images by Pillow's mode.
        dark: one per image of 16 bits that is almost black, as those of 12 bits are.
    """

    problems: list[Problem]
    modes: dict[str, int]
    dark: list[Problem]


@dataclass(frozen=True)
class _Looked:
    """What decoding one file showed."""

    image: Path
    problem: Problem | None = None
    mode: str = ""
    highest: int | None = None


def _look(image: Path) -> _Looked:
    if not os.path.isfile(image):
        return _Looked(image, _not_a_file(image))
    try:
        decoded = decode(image)
    except UsageError as error:
        detail = str(error).removeprefix(f"{image}: ")
        kind = "unreadable image"
        if detail.startswith("truncated"):
            kind = "truncated image"
        return _Looked(image, Problem(kind, str(image), detail))
    return _Looked(image, None, decoded.mode, decoded.highest)


def _not_a_file(image: Path) -> Problem:
    if os.path.isdir(image):
        return Problem("unreadable image", str(image), "a folder, not an image")
    if os.path.isdir(image.parent) and not os.access(image.parent, os.X_OK):
        return Problem("unreadable image", str(image), "its folder may not be read")
    return Problem("missing file", str(image))


def decode_all(samples: Iterable[Sample], threads: int | None = None) -> Decoding:
    """Decode every image.

    Args:
        samples: which images; one that is listed twice is decoded once.
        threads: how many to decode at a time; None takes one per core.
    """
    images = dict.fromkeys(sample.image for sample in samples)
    problems, modes, dark = [], Counter[str](), []
    # Threads are enough: Pillow decodes without holding the interpreter's lock. What it warns of, odd metadata and many
    # pixels, is no problem of an image that it reads.
    with warnings.catch_warnings(), ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        warnings.simplefilter("ignore")
        for looked in pool.map(_look, images):
            if looked.problem is not None:
                problems.append(looked.problem)
                continue
            modes[looked.mode] += 1
            if looked.highest is not None and looked.highest < TWELVE_BITS:
                detail = f"no value is above {looked.highest:,} of 65,535, so it is almost black; scale it to 0..65,535"
                dark.append(Problem("dark 16-bit image", str(looked.image), detail))
    return Decoding(problems, dict(modes.most_common()), dark)


def duplicates(samples: Sequence[Sample]) -> list[Problem]:
    """Files with equal bytes; those in two splits have a separate kind."""
    split_of = {sample.image: sample.split for sample in samples}
    problems = []
    for first, *copies in same_content(split_of):
        splits = dict.fromkeys(split_of[image] for image in (first, *copies))
        kind = "duplicate image"
        if len(splits) > 1:
            kind = "duplicate image across splits"
        detail = f"same bytes as {', '.join(map(str, copies))}; in {', '.join(splits)}"
        problems.append(Problem(kind, str(first), detail))
    return problems


def positives(data: TaggedImages, splits: Iterable[str]) -> np.ndarray:
    """Images per label, ``int[q]``, in several splits together."""
    counts = np.zeros(len(data.classes), dtype=int)
    for split in splits:
        counts += data.targets(split).sum(axis=0, dtype=int)
    return counts


def unseen_labels(data: TaggedImages, train_splits: Sequence[str] = ("train",)) -> list[Problem]:
    """Labels that occur in another split but in no training split: no model can learn them."""
    seen = positives(data, train_splits)
    problems = []
    for split in data.splits:
        if split in train_splits:
            continue
        counts = positives(data, [split])
        for label in np.flatnonzero((seen == 0) & (counts > 0)):
            detail = f"{counted(int(counts[label]), 'image')} in {split}, none in {' or '.join(train_splits)}"
            problems.append(Problem(UNSEEN, data.classes[label], detail))
    return problems


def check_trainable(data: TaggedImages, train_splits: Sequence[str], image_size: int) -> None:
    """Check that there is something to learn, and to score.

    Raises:
        UsageError: no image of the training splits or of another split has a label, or there is one image, too small
            for statistics.
    """
    images = sum(len(data.split(split)) for split in train_splits)
    if images == 1 and image_size < SMALLEST_ALONE:
        raise UsageError(
            f"{data.root}: 1 image of {'+'.join(train_splits)} at {image_size} pixels has no batch statistics; "
            f"give a second one, or `--set data.image_size={SMALLEST_ALONE}`"
        )
    if not positives(data, train_splits).any():
        raise UsageError(
            f"{data.root}: no image of {'+'.join(train_splits)} has a label, so nothing can be learned (`mlkdc data`)"
        )
    for split in data.splits:
        # It would only be found after the training, which would be lost.
        if split not in train_splits and not positives(data, [split]).any():
            raise UsageError(
                f"{data.root}: no image of {split} has a label, so nothing can be scored on it; label some of its "
                f"{counted(len(data.split(split)), 'image')}, or leave them out (in a table: with an empty split)"
            )


def _constant_labels(data: TaggedImages) -> list[Problem]:
    """Splits without a positive, and labels that all or none of a split's images have.

    Labels that training never sees are left to :func:`unseen_labels`.
    """
    problems = []
    everywhere = positives(data, data.splits)
    for split in data.splits:
        counts = positives(data, [split])
        if not counts.any():
            detail = "no image in it has a label: nothing to learn from and no mAP"
            problems.append(Problem("split without labels", split, detail))
            continue
        absent = counts == 0
        if split == "train":
            # Those that occur in another split are unseen.
            absent &= everywhere == 0
        for label in np.flatnonzero(absent):
            problems.append(Problem("label without a positive", data.classes[label], f"in {split}"))
        images = len(data.split(split))
        if images < FEW_IMAGES:
            continue
        for label in np.flatnonzero(counts == images):
            detail = f"in {split}: whatever a model answers, its AP there is 100"
            problems.append(Problem("label without a negative", data.classes[label], detail))
    return problems


@dataclass(frozen=True)
class Inspection:
    """Everything wrong with a data set.

    Args:
        problems: what the reader noticed, the files, rows without labels, duplicates, labels.
        modes: number of images by Pillow's mode.
    """

    problems: list[Problem]
    modes: dict[str, int]


def inspect(data: TaggedImages) -> Inspection:
    """Look at everything; decodes every image."""
    decoding = decode_all(data.samples)
    return Inspection(all_problems(data, [*decoding.problems, *decoding.dark]), decoding.modes)


def all_problems(data: TaggedImages, of_files: Iterable[Problem]) -> list[Problem]:
    """Everything wrong with a data set, whose files were decoded with these problems."""
    unlabeled = []
    for sample in data.samples:
        if not sample.labels:
            unlabeled.append(Problem("image without labels", str(sample.image), f"in {sample.split}"))
    return [
        *data.problems,
        *of_files,
        *unlabeled,
        *duplicates(data.samples),
        *_lacking_splits(data),
        *(unseen_labels(data) if "train" in data.splits else ()),
        *_constant_labels(data),
    ]


def _lacking_splits(data: TaggedImages) -> list[Problem]:
    if "train" not in data.splits:
        return [Problem("no train split", data.name, "there is nothing to train on")]
    if data.splits == ("train",):
        return [Problem("no val or test split", data.name, "a model is scored on the images that it was trained on")]
    if "val" not in data.splits:
        return [Problem("no val split", data.name, "thresholds are tuned on the images that a model is scored on")]
    return []
