"""One image, once: rows of one file are one sample, and files of equal content share a split."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from mlkdc.errors import UsageError
from mlkdc.figures import counted
from mlkdc.resources import file_sha256
from mlkdc.types import Sample, TaggedImages

#: Bytes by which files of equal size are told apart before they are read completely.
HEAD_BYTES = 1 << 14


def joined(data: TaggedImages) -> TaggedImages:
    """The data with one sample for each file: its labels and boxes are those of all samples of that file.

    Raises:
        UsageError: a file is in two splits.
    """
    by_file: dict[Path, Sample] = {}
    for sample in data.samples:
        first = by_file.get(sample.image)
        by_file[sample.image] = sample if first is None else _both(data, first, sample)
    if len(by_file) == len(data.samples):
        return data
    note = f"{len(data.samples):,} rows list {counted(len(by_file), 'image')}: the labels of an image are joined"
    return replace(data, samples=tuple(by_file.values()), notes=(*data.notes, note))


def _both(data: TaggedImages, first: Sample, second: Sample) -> Sample:
    if first.split != second.split:
        raise UsageError(
            f"{data.root}: {first.image} is listed in {first.split or 'no split'} and in "
            f"{second.split or 'no split'}; an image belongs to one split"
        )
    labels = tuple(sorted({*first.labels, *second.labels}))
    return replace(first, labels=labels, boxes=(*first.boxes, *second.boxes))


def same_content(images: Iterable[Path]) -> list[list[Path]]:
    """Groups of files with the same bytes. Files are read that are equal in size and in how they begin."""
    groups = _split_by(images, lambda image: str(image.stat().st_size))
    for look in (_head, file_sha256):
        finer = []
        for group in groups:
            finer += _split_by(group, look)
        groups = finer
    return groups


def _head(image: Path) -> str:
    with image.open("rb") as stream:
        return hashlib.sha256(stream.read(HEAD_BYTES)).hexdigest()


def _split_by(images: Iterable[Path], look: Callable[[Path], str]) -> list[list[Path]]:
    """Groups of two or more files that look the same. What cannot be read is reported by whoever decodes it."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for image in images:
        try:
            groups[look(image)].append(image)
        except OSError:
            continue
    return [group for group in groups.values() if len(group) > 1]


def representatives(samples: Sequence[Sample]) -> dict[Path, Path]:
    """For each file that has copies, the one of them that decides the split: the first by name."""
    first_of: dict[Path, Path] = {}
    for group in same_content(sample.image for sample in samples):
        first = min(group)
        for image in group:
            first_of[image] = first
    return first_of


def without_copies(data: TaggedImages, first_of: dict[Path, Path]) -> TaggedImages:
    """The data with one image of each content, as :func:`representatives` names them."""
    samples = [sample for sample in data.samples if first_of.get(sample.image, sample.image) == sample.image]
    return replace(data, samples=tuple(samples))


def with_copies(data: TaggedImages, split: TaggedImages, first_of: dict[Path, Path]) -> TaggedImages:
    """All images of ``data`` with the splits that ``split`` gives to one image of each content."""
    split_of = {sample.image: sample.split for sample in split.samples}
    samples = []
    for sample in data.samples:
        first = first_of.get(sample.image, sample.image)
        samples.append(replace(sample, split=split_of[first]))
    return replace(split, samples=tuple(samples))
