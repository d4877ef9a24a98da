"""What an image is called in its data set: the same name wherever the data lies."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mlkdc.resources import file_sha256
from mlkdc.types import TaggedImages

#: Hexadecimal digits of a digest: of a billion images no two agree by chance.
CONTENT_DIGITS = 24


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


def content_digest(image: Path) -> str | None:
    """Of an image file's bytes; None where it is missing or may not be read."""
    try:
        return file_sha256(image)[:CONTENT_DIGITS]
    except OSError:
        return None


def content_digests(images: Iterable[Path]) -> list[str | None]:
    """Of each image file; reads all of them."""
    # Threads are enough: hashing does not hold the interpreter's lock.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(content_digest, images))


def size_bytes(image: Path) -> int | None:
    """Of an image file; None where it is missing."""
    # Path.is_file raises in a folder that may not be entered.
    if not os.path.isfile(image):
        return None
    return image.stat().st_size
