"""Data sets of tagged images: find the reader, read, split."""

import os
from dataclasses import replace
from pathlib import Path

from mlkdc.data.digits import open_digits
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, understood
from mlkdc.data.split import stratified
from mlkdc.errors import UsageError
from mlkdc.images import SUFFIXES
from mlkdc.resources import digest
from mlkdc.types import TaggedImages

EMBEDDED = "digits"


def open_data(
    path: str, *, layout: str | None = None, seed: int = 0, digits_images: int = 2000, split: bool = True
) -> TaggedImages:
    """Read the data set at ``path``; no picture is opened.

    Args:
        path: a folder, an index file, or the word ``digits`` (a folder of that name is ``./digits``).
        layout: the reader's name; None finds it from what is there.
        seed: of the split, where the source has none, and of the embedded data.
        digits_images: size of the embedded data set.
        split: make a split where the source has none; else all images are its test split.

    Raises:
        UsageError: nothing there, no reader or more than one fits, or the files contradict their layout.
    """
    if path == EMBEDDED and layout in (None, EMBEDDED):
        return open_digits(digits_images, seed)
    root = Path(os.path.abspath(Path(path).expanduser()))
    if not root.exists():
        raise UsageError(f"{path}: no such file or folder; give a folder, an index file, or 'digits'")
    reader = LAYOUTS.get(layout or _detect(root))
    if not reader.detect(root):
        raise UsageError(f"{root} is not laid out as {layout!r}, which is {reader.summary}")
    data = reader.read(root)
    if not data.samples:
        raise UsageError(f"{root}: read as {data.layout!r}, it lists no image")
    if not data.classes:
        raise UsageError(f"{root}: read as {data.layout!r}, no image has a label")
    if data.samples[0].split != UNSPLIT:
        return data
    if split:
        return stratified(data, seed)
    samples = tuple(replace(sample, split="test") for sample in data.samples)
    return replace(data, samples=samples, split_from="none: every image counts as test")


def _detect(root: Path) -> str:
    fitting = [name for name, layout in LAYOUTS.items() if layout.detect(root)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(
            f"{root} fits several layouts: {', '.join(fitting)}; choose with --set data.layout={fitting[0]} "
            f"(`mlkdc data --layout {fitting[0]}`)"
        )
    raise UsageError(f"{root}: {_found(root)}; understood are\n{understood()}")


def _found(root: Path) -> str:
    """What is there instead of a known layout."""
    if root.is_file():
        return "not an index file of a known layout"
    if not any(root.iterdir()):
        return "an empty folder"
    pictures = sum(file.suffix.lower() in SUFFIXES for file in root.rglob("*"))
    return f"a folder of {pictures} images without labels" if pictures else "a folder with neither images nor labels"


def fingerprint(data: TaggedImages) -> str:
    """A short digest of classes, splits, labels, and the images' relative paths and sizes in bytes.

    It is the same wherever the folder lies, and changes with the labels, the split and the files. Pictures are not
    read.
    """
    base = data.root if data.root.is_dir() else data.root.parent
    rows = []
    for sample in data.samples:
        size = sample.image.stat().st_size if sample.image.is_file() else None
        rows.append((os.path.relpath(sample.image, base), size, sample.labels, sample.split))
    return digest([data.classes, rows])
