"""Data sets of tagged images: choose the reader, read, split."""

import os
from dataclasses import replace
from pathlib import Path

from mlkdc.data.digits import open_digits
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, list_layouts
from mlkdc.data.names import image_names, size_bytes
from mlkdc.data.split import split_by_name
from mlkdc.errors import UsageError
from mlkdc.images import SUFFIXES
from mlkdc.resources import digest
from mlkdc.types import TaggedImages

EMBEDDED = "digits"


def open_data(
    path: str, *, layout: str | None = None, seed: int = 0, digits_images: int = 2000, split: bool = True
) -> TaggedImages:
    r"""Read the data set at ``path``; no image is opened.

    Args:
        path: a folder, an index file, or the word ``digits`` (a folder of that name is ``./digits``).
        layout: the reader's name; None detects it from the files.
        seed: of the split, where the source has none, and of the embedded data.
        digits_images: size of the embedded data set.
        split: make a split where the source has none; else all images are its test split.

    Raises:
        UsageError: nothing there, no reader or more than one fits, the files contradict their layout, or the embedded
            data must be drawn and scikit-learn is missing.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mlkdc.data import open_data
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "labels.csv")
        ...     _ = table.write_text("image,labels,split\nbeach.png,sky|sea,train\n", encoding="utf-8")
        ...     data = open_data(folder)
        >>> data.classes, data.samples[0].labels
        (('sea', 'sky'), (0, 1))
    """
    if path == EMBEDDED and layout in (None, EMBEDDED):
        return open_digits(digits_images, seed)
    root = Path(os.path.abspath(Path(path).expanduser()))
    if not root.exists():
        raise UsageError(f"{path}: no such file or folder; give a folder, an index file, or 'digits'")
    data = _read(root, layout)
    if data.samples[0].split != UNSPLIT:
        return data
    if split:
        return split_by_name(data, seed)
    samples = tuple(replace(sample, split="test") for sample in data.samples)
    return replace(data, samples=samples, split_from="none: every image counts as test")


def _read(root: Path, layout: str | None) -> TaggedImages:
    reader = LAYOUTS.get(layout or _detect(root))
    if not reader.detect(root):
        raise UsageError(f"{root} is not laid out as {layout!r}, which is {reader.summary}")
    data = reader.read(root)
    if not data.samples:
        raise UsageError(f"{root}: read as {data.layout!r}, it lists no image")
    if not data.classes:
        raise UsageError(f"{root}: read as {data.layout!r}, no image has a label")
    return data


def _detect(root: Path) -> str:
    """The name of the only layout that fits."""
    fitting = [name for name, layout in LAYOUTS.items() if layout.detect(root)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(
            f"{root} fits several layouts: {', '.join(fitting)}; choose with --set data.layout={fitting[0]} "
            f"(`mlkdc data --layout {fitting[0]}`)"
        )
    raise UsageError(f"{root}: {_describe(root)}; expected one of these layouts:\n{list_layouts()}")


def _describe(root: Path) -> str:
    """What there is instead of a layout we read."""
    if root.is_file():
        return "not an index file of any layout"
    if not any(root.iterdir()):
        return "an empty folder"
    images = sum(file.suffix.lower() in SUFFIXES for file in root.rglob("*"))
    if images:
        return f"a folder of {images} images without labels"
    return "a folder with neither images nor labels"


def fingerprint(data: TaggedImages) -> str:
    """A short digest of classes, splits, labels, and the images' relative paths and sizes in bytes.

    It does not depend on where the folder is, and changes with the labels, the split and the files. Images are not
    opened.
    """
    rows = []
    for name, sample in zip(image_names(data), data.samples, strict=True):
        rows.append((name, size_bytes(sample.image), sample.labels, sample.split))
    return digest([data.classes, rows])
