"""What is wrong with a data set, and what is in it."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.images import open_rgb
from mlkdc.records.data import DataSummary, LabelsPerImage
from mlkdc.resources import file_sha256
from mlkdc.types import Problem, Sample, TaggedImages

UNSEEN = "label never seen in training"


def _unreadable(image: Path) -> Problem | None:
    if not image.is_file():
        return Problem("missing file", str(image))
    try:
        open_rgb(image)
    except UsageError as error:
        detail = str(error).removeprefix(f"{image}: ")
        kind = "unreadable image"
        if detail.startswith("truncated"):
            kind = "truncated image"
        return Problem(kind, str(image), detail)
    return None


def check_readable(samples: Iterable[Sample], threads: int | None = None) -> list[Problem]:
    """Decode every image; one problem per file that is missing, truncated or not an image.

    ``where`` of each problem is ``str(sample.image)``.

    Args:
        samples: which images; one that is listed twice is decoded once.
        threads: how many to decode at a time; None takes one per core.
    """
    images = dict.fromkeys(sample.image for sample in samples)
    problems = []
    # Threads are enough: Pillow decodes without holding the interpreter's lock.
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for problem in pool.map(_unreadable, images):
            if problem is not None:
                problems.append(problem)
    return problems


def _same_bytes(images: Iterable[Path]) -> list[list[Path]]:
    """Groups of files with the same content; only files of equal size are read."""
    by_size, by_content = defaultdict(list), defaultdict(list)
    for image in images:
        if image.is_file():
            by_size[image.stat().st_size].append(image)
    for group in by_size.values():
        if len(group) > 1:
            for image in group:
                by_content[file_sha256(image)].append(image)
    return [group for group in by_content.values() if len(group) > 1]


def duplicates(samples: Sequence[Sample]) -> list[Problem]:
    """Images listed twice and files with equal bytes; those in two splits have a separate kind."""
    splits_of: dict[Path, list[str]] = defaultdict(list)
    for sample in samples:
        splits_of[sample.image].append(sample.split)
    problems = []
    for image, splits in splits_of.items():
        if len(splits) > 1:
            problems.append(_duplicate(image, splits, f"listed {len(splits)} times"))
    for group in _same_bytes(splits_of):
        first, *copies = group
        splits = []
        for image in group:
            splits += splits_of[image]
        problems.append(_duplicate(first, splits, f"same bytes as {', '.join(map(str, copies))}"))
    return problems


def _duplicate(image: Path, splits: list[str], detail: str) -> Problem:
    distinct = dict.fromkeys(splits)
    kind = "duplicate image"
    if len(distinct) > 1:
        kind = "duplicate image across splits"
    return Problem(kind, str(image), f"{detail}; in {', '.join(distinct)}")


def _positives(data: TaggedImages, splits: Iterable[str]) -> np.ndarray:
    """Images per label, ``int[q]``, in several splits together."""
    counts = np.zeros(len(data.classes), dtype=int)
    for split in splits:
        counts += data.targets(split).sum(axis=0, dtype=int)
    return counts


def unseen_labels(data: TaggedImages, train_splits: Sequence[str] = ("train",)) -> list[Problem]:
    """Labels that occur in another split but in no training split: no model can learn them."""
    seen = _positives(data, train_splits)
    problems = []
    for split in data.splits:
        if split in train_splits:
            continue
        counts = _positives(data, [split])
        for label in np.flatnonzero((seen == 0) & (counts > 0)):
            detail = f"{counts[label]} images in {split}, none in {' or '.join(train_splits)}"
            problems.append(Problem(UNSEEN, data.classes[label], detail))
    return problems


def _absent_labels(data: TaggedImages) -> list[Problem]:
    """Labels without a positive in a split, unless :func:`unseen_labels` reports them already."""
    problems = []
    everywhere = _positives(data, data.splits)
    for split in data.splits:
        absent = _positives(data, [split]) == 0
        if split == "train":
            # Those that occur in another split are unseen.
            absent &= everywhere == 0
        for label in np.flatnonzero(absent):
            problems.append(Problem("label without a positive", data.classes[label], f"in {split}"))
    return problems


def inspect(data: TaggedImages) -> list[Problem]:
    """Everything wrong with a data set: what the reader noticed, the files, rows without labels, duplicates, labels."""
    unlabeled = []
    for sample in data.samples:
        if not sample.labels:
            unlabeled.append(Problem("image without labels", str(sample.image), f"in {sample.split}"))
    return [
        *data.problems,
        *check_readable(data.samples),
        *unlabeled,
        *duplicates(data.samples),
        *unseen_labels(data),
        *_absent_labels(data),
    ]


def summary(data: TaggedImages) -> DataSummary:
    """What is in a data set."""
    images, counts = {}, {}
    for split in data.splits:
        images[split] = len(data.split(split))
        counts[split] = dict(zip(data.classes, _positives(data, [split]).tolist(), strict=True))
    labels_per_image, boxes = [], 0
    for sample in data.samples:
        labels_per_image.append(len(sample.labels))
        boxes += len(sample.boxes)
    return DataSummary(
        name=data.name,
        path=str(data.root),
        layout=data.layout,
        split_from=data.split_from,
        classes=len(data.classes),
        images=images,
        labels_per_image=LabelsPerImage(
            mean=sum(labels_per_image) / len(labels_per_image), min=min(labels_per_image), max=max(labels_per_image)
        ),
        boxes=boxes,
        counts=counts,
    )
