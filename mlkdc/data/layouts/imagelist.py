"""Text files with an image and its flags in each line, as of HashNet (Cao et al., 2017) and its followers."""

import os
from pathlib import Path

from mlkdc.data.files import entries
from mlkdc.data.flags import FLAGS
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, ReadOptions, read_lines
from mlkdc.data.splits import split_of_name
from mlkdc.data.text import clean_label, read_head
from mlkdc.errors import UsageError
from mlkdc.images import image_suffixes
from mlkdc.types import Sample, TaggedImages

#: An image, and flags for two labels: one number alone could be the number of a class.
_WORDS = 3
#: An image is in one of these lines.
HEADER_LINES = 3


def _files(path: Path) -> list[tuple[Path, str]]:
    """The lists that ``path`` is or holds, one for each split; one alone is split here."""
    if path.is_file():
        return [(path, UNSPLIT)] if _is_list(path) else []
    files = []
    for file in entries(path):
        split = split_of_name(file)
        if split is not None and _is_list(file):
            files.append((file, split))
    if len(files) == 1:
        return [(files[0][0], UNSPLIT)]
    return files


def _is_list(file: Path) -> bool:
    if file.suffix != ".txt" or not os.path.isfile(file):
        return False
    return any(map(_is_row, read_head(file).splitlines()[:HEADER_LINES]))


def _parsed(line: str) -> tuple[str, list[str]]:
    """The image, whose name may hold blanks, and the flags behind it."""
    words = line.split()
    flags: list[str] = []
    while len(words) > 1 and words[-1] in FLAGS:
        flags.append(words.pop())
    return " ".join(words), flags[::-1]


def read(path: Path, options: ReadOptions) -> TaggedImages:
    """Images with the labels whose flags are 1; names come from classes.txt, else labels are numbered."""
    files = _files(path)
    rows = []
    width = None
    named: tuple[str, ...] = ()
    for file, split in files:
        lines = read_lines(file)
        first = _first_row(lines)
        if first:
            named = tuple(map(clean_label, lines[first - 1].split()))
        for number, line in enumerate(lines[first:], start=first + 1):
            image, flags = _parsed(line)
            width = width or len(flags)
            if len(flags) != width:
                raise UsageError(f"{file} row {number}: expected an image and {width} flags, got {line[:80]!r}")
            labels = tuple(label for label, flag in enumerate(flags) if FLAGS[flag])
            rows.append(Sample(file.parent / image, labels, split))
    classes, notes = _classes(files[0][0].parent, width or 0, named)
    name = path.name if path.is_dir() else path.stem
    return TaggedImages(name, path, "imagelist", classes, tuple(rows), notes=notes)


def _first_row(lines: list[str]) -> int:
    """How many lines stand before the first image: none, or as in CelebA's lists their number and the names."""
    for number, line in enumerate(lines[:HEADER_LINES]):
        if _is_row(line):
            return number
    return 0


def _is_row(line: str) -> bool:
    image, flags = _parsed(line)
    return Path(image).suffix.lower() in image_suffixes() and len(flags) >= _WORDS - 1


def _classes(folder: Path, width: int, named: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The classes, and a note where nothing names them."""
    if len(named) in (width, width + 1):
        # The column of images may have a name too.
        return named[-width:], ()
    if not os.path.isfile(folder / "classes.txt"):
        numbers = tuple(map(str, range(width)))
        return numbers, (f"labels are called 0 to {width - 1}; classes.txt in {folder.name}/ can name them",)
    names = tuple(clean_label(line) for line in read_lines(folder / "classes.txt"))
    if len(names) != width:
        raise UsageError(f"{folder / 'classes.txt'}: expected {width} classes, one for each flag; got {len(names)}")
    return names, ()


def _detect(path: Path) -> bool:
    return bool(_files(path))


LAYOUTS.register("imagelist")(
    Layout(
        "train.txt and test.txt (or one such file) with an image and 0/1 flags in each line; classes.txt", _detect, read
    )
)
