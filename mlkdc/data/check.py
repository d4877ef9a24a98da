"""What is wrong with a data set, and what is in it."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.images import open_rgb
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
        kind = "truncated image" if detail.startswith("truncated") else "unreadable image"
        return Problem(kind, str(image), detail)
    return None


def check_readable(samples: Iterable[Sample], threads: int | None = None) -> list[Problem]:
    """Decode every picture; one problem per file that is missing, truncated or not an image.

    ``where`` of each problem is ``str(sample.image)``.

    Args:
        samples: which pictures; one that is listed twice is decoded once.
        threads: how many decode at a time; None takes one per core.
    """
    images = list(dict.fromkeys(sample.image for sample in samples))
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        return [problem for problem in pool.map(_unreadable, images) if problem is not None]


def _same_bytes(images: Iterable[Path]) -> list[list[Path]]:
    """Groups of files with the same content; only files of equal size are read."""
    sizes, contents = defaultdict(list), defaultdict(list)
    for image in images:
        if image.is_file():
            sizes[image.stat().st_size].append(image)
    for group in sizes.values():
        for image in group if len(group) > 1 else ():
            contents[file_sha256(image)].append(image)
    return [group for group in contents.values() if len(group) > 1]


def duplicates(samples: Sequence[Sample]) -> list[Problem]:
    """Pictures listed twice and files with equal bytes; those in two splits are a kind of their own."""
    places: dict[Path, list[str]] = defaultdict(list)
    for sample in samples:
        places[sample.image].append(sample.split)
    problems = []
    for image, splits in places.items():
        if len(splits) > 1:
            problems.append(_duplicate(image, splits, f"listed {len(splits)} times"))
    for first, *others in _same_bytes(places):
        splits = [split for image in (first, *others) for split in places[image]]
        problems.append(_duplicate(first, splits, f"same bytes as {', '.join(map(str, others))}"))
    return problems


def _duplicate(image: Path, splits: list[str], detail: str) -> Problem:
    kind = "duplicate image across splits" if len(set(splits)) > 1 else "duplicate image"
    return Problem(kind, str(image), f"{detail}; in {', '.join(dict.fromkeys(splits))}")


def _positives(data: TaggedImages, splits: Iterable[str]) -> np.ndarray:
    """Images per label, ``int[q]``, in some splits together."""
    counts = np.zeros(len(data.classes), dtype=int)
    for split in splits:
        counts += data.targets(split).sum(axis=0, dtype=int)
    return counts


def unseen_labels(data: TaggedImages, train_splits: Sequence[str] = ("train",)) -> list[Problem]:
    """Labels that another split has and the training splits have not: no model can learn them."""
    others = [split for split in data.splits if split not in train_splits]
    seen = _positives(data, train_splits)
    problems = []
    for split in others:
        counts = _positives(data, [split])
        for at in np.flatnonzero((seen == 0) & (counts > 0)):
            detail = f"{counts[at]} images in {split}, none in {' or '.join(train_splits)}"
            problems.append(Problem(UNSEEN, data.classes[at], detail))
    return problems


def _absent_labels(data: TaggedImages) -> list[Problem]:
    """Labels without a positive in a split, where :func:`unseen_labels` does not say it already."""
    unseen = {problem.where for problem in unseen_labels(data)}
    problems = []
    for split in data.splits:
        for at in np.flatnonzero(_positives(data, [split]) == 0):
            name = data.classes[at]
            if split != "train" or name not in unseen:
                problems.append(Problem("label without a positive", name, f"in {split}"))
    return problems


def inspect(data: TaggedImages) -> list[Problem]:
    """Everything wrong with a data set: what the reader met, the files, rows without labels, duplicates, labels."""
    empty = [
        Problem("image without labels", str(sample.image), f"in {sample.split}")
        for sample in data.samples
        if not sample.labels
    ]
    return [
        *data.problems,
        *check_readable(data.samples),
        *empty,
        *duplicates(data.samples),
        *unseen_labels(data),
        *_absent_labels(data),
    ]


def summary(data: TaggedImages) -> dict[str, Any]:
    """What is in a data set, as JSON-able counts.

    ``images`` is by split, ``counts`` (of images) by split and label; ``labels_per_image`` has mean, min and max over
    all images.
    """
    per_image = [len(sample.labels) for sample in data.samples]
    return {
        "name": data.name,
        "path": str(data.root),
        "layout": data.layout,
        "split_from": data.split_from,
        "classes": len(data.classes),
        "images": {split: len(data.split(split)) for split in data.splits},
        "labels_per_image": {
            "mean": sum(per_image) / len(per_image),
            "min": min(per_image),
            "max": max(per_image),
        },
        "boxes": sum(len(sample.boxes) for sample in data.samples),
        "counts": {
            split: dict(zip(data.classes, _positives(data, [split]).tolist(), strict=True)) for split in data.splits
        },
    }
