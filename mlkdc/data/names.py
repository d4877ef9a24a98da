"""What an image is called in its data set: the same name wherever the data lies."""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from mlkdc.resources import file_sha256
from mlkdc.types import TaggedImages


def base_folder(data: TaggedImages) -> Path:
    """The folder of the data, also where its root is an index file."""
    if data.root.is_dir():
        return data.root
    return data.root.parent


def image_name(base: Path, image: Path) -> str:
    """The path of an image relative to the data's folder, with / on every system."""
    return Path(os.path.relpath(image, base)).as_posix()


def image_names(data: TaggedImages) -> list[str]:
    """Of each sample, in their order."""
    base = base_folder(data)
    return [image_name(base, sample.image) for sample in data.samples]


def size_bytes(image: Path) -> int | None:
    """Of an image file; None where it is missing."""
    if not image.is_file():
        return None
    return image.stat().st_size


def first_of_equals(images: Iterable[Path]) -> dict[Path, Path]:
    """For each file that has the same content as others, the first of them by path; only files of one size are read."""
    by_size: dict[int, set[Path]] = defaultdict(set)
    for image in images:
        size = size_bytes(image)
        if size is not None:
            by_size[size].add(image)
    firsts: dict[Path, Path] = {}
    for group in by_size.values():
        if len(group) == 1:
            continue
        by_content: dict[str, Path] = {}
        for image in sorted(group):
            firsts[image] = by_content.setdefault(file_sha256(image), image)
    return firsts
