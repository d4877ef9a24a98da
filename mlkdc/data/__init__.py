"""Data sets of tagged images: choose the reader, read, split."""

import os
from dataclasses import replace
from pathlib import Path

from mlkdc.data.classes import check_classes, odd_names
from mlkdc.data.digits import open_digits
from mlkdc.data.found import describe
from mlkdc.data.groups import joined, representatives, with_copies, without_copies
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, ReadOptions, list_layouts
from mlkdc.data.names import content_digests, image_names
from mlkdc.data.paths import resolve
from mlkdc.data.split import FEWEST, split_by_name
from mlkdc.errors import UsageError
from mlkdc.resources import digest
from mlkdc.types import TaggedImages

EMBEDDED = "digits"


def open_data(
    path: str,
    *,
    layout: str | None = None,
    separator: str | None = None,
    images: str | None = None,
    seed: int = 0,
    digits_images: int = 2000,
    split: bool = True,
    few: bool = False,
) -> TaggedImages:
    r"""Read the data set at ``path``; no image is opened.

    Args:
        path: a folder, an index file, or the word ``digits`` (a folder of that name is ``./digits``).
        layout: the reader's name; None detects it from the files.
        separator: what joins the labels in a cell of a table: a character, or ``comma``, ``semicolon``, ``blank``,
            ``pipe``, ``list`` or ``none``; None detects it from the complete column.
        images: the folder of the images, where the paths with the labels do not lead to them.
        seed: of the split, where the source has none, and of the embedded data.
        digits_images: size of the embedded data set.
        split: make a split where the source has none; else all images are its test split.
        few: leave data that are too few to be split as they are, instead of refusing them.

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
    if not os.path.exists(root):
        raise UsageError(f"{path}: no such file or folder; give a folder, an index file, or 'digits'")
    data = joined(resolve(_read(root, layout, ReadOptions(separator)), images))
    if data.samples[0].split != UNSPLIT:
        return data
    if not split:
        return _all_test(data, "none: every image counts as test")
    first_of = representatives(data.samples)
    once = without_copies(data, first_of)
    if few and len(once.samples) < FEWEST:
        return _all_test(data, f"none: fewer than {FEWEST} images are not split")
    return with_copies(data, split_by_name(once, seed), first_of)


def _all_test(data: TaggedImages, split_from: str) -> TaggedImages:
    samples = tuple(replace(sample, split="test") for sample in data.samples)
    return replace(data, samples=samples, split_from=split_from)


def _read(root: Path, layout: str | None, options: ReadOptions) -> TaggedImages:
    name = layout or _detect(root)
    reader = LAYOUTS.get(name)
    if not reader.detect(root):
        raise UsageError(f"{root} is not laid out as {layout!r}, which is {reader.summary}")
    if options.separator is not None and name != "csv":
        raise UsageError(f"data.separator is for tables; {root} is read as {name!r}")
    data = reader.read(root, options)
    if not data.samples:
        raise UsageError(f"{root}: read as {data.layout!r}, it lists no image")
    if not data.classes:
        raise UsageError(f"{root}: read as {data.layout!r}, no image has a label")
    check_classes(root, data.layout, data.classes)
    return replace(data, problems=(*data.problems, *odd_names(data.classes)))


def _detect(root: Path) -> str:
    """The name of the only layout that fits."""
    fitting = [name for name, layout in LAYOUTS.items() if layout.automatic and layout.detect(root)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(
            f"{root} fits several layouts: {', '.join(fitting)}; choose with --set data.layout={fitting[0]} "
            f"(`mlkdc data --layout {fitting[0]}`)"
        )
    raise UsageError(f"{root}: {describe(root)}; expected one of these layouts:\n{list_layouts()}")


def fingerprint(data: TaggedImages) -> str:
    """A short digest of classes, splits, labels, and the images' relative paths and contents; reads every file.

    It does not depend on where the folder is, and changes with the labels, the split and the files.
    """
    contents = content_digests(sample.image for sample in data.samples)
    rows = []
    for name, content, sample in zip(image_names(data), contents, data.samples, strict=True):
        rows.append((name, content, sample.labels, sample.split))
    return digest([data.classes, rows])
