"""MIRFLICKR-25k (Huiskes and Lew, 2008): 24 "potential" labels, annotations version 080.

The 14 stricter ``*_r1`` ("relevant") lists are not used: they repeat 14 of the 24 labels, and the published
distillation figures are on the 24. There is no official split.
"""

import re
from pathlib import Path

from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, read_lines
from mlkdc.errors import UsageError
from mlkdc.types import Sample, TaggedImages

CLASSES = (
    "animals", "baby", "bird", "car", "clouds", "dog", "female", "flower", "food", "indoor", "lake", "male",
    "night", "people", "plant_life", "portrait", "river", "sea", "sky", "structures", "sunset", "transport",
    "tree", "water",
)  # fmt: skip
_IMAGE = re.compile(r"im(\d+)\.jpg")


def _folders(path: Path) -> list[Path]:
    """``path`` and the folders directly in it and in its mirflickr folder, where the two archives may be unpacked."""
    if not path.is_dir():
        return []
    inner = [folder for where in (path, path / "mirflickr") if where.is_dir() for folder in sorted(where.iterdir())]
    return [path, *(folder for folder in inner if folder.is_dir())]


def _annotations(path: Path) -> Path | None:
    signs = ("plant_life.txt", "structures.txt")
    return next((folder for folder in _folders(path) if all((folder / sign).is_file() for sign in signs)), None)


def _images(path: Path) -> tuple[Path, set[int]] | None:
    """The folder of the pictures and their numbers."""
    for folder in _folders(path):
        numbers = {int(match[1]) for file in folder.iterdir() if (match := _IMAGE.fullmatch(file.name))}
        if numbers:
            return folder, numbers
    return None


def _numbers(file: Path) -> set[int]:
    lines = read_lines(file)
    wrong = next((line for line in lines if not line.isdecimal()), None)
    if wrong is not None:
        raise UsageError(f"{file}: expected one image number per line, got {wrong!r}")
    return {int(line) for line in lines}


def read(path: Path) -> TaggedImages:
    """Every picture on disk and every annotated one, so that a missing file is seen as one."""
    annotations, images = _annotations(path), _images(path)
    assert annotations is not None, "detect() comes first"
    if images is None:
        raise UsageError(f"{path}: found MIRFLICKR's annotations but no picture im1.jpg, ... in it or in mirflickr/")
    folder, on_disk = images
    members = [_numbers(annotations / f"{name}.txt") for name in CLASSES]
    samples = []
    for number in sorted(on_disk.union(*members)):
        labels = tuple(at for at, member in enumerate(members) if number in member)
        samples.append(Sample(folder / f"im{number}.jpg", labels, UNSPLIT))
    return TaggedImages(path.name, path, "mirflickr", CLASSES, tuple(samples))


LAYOUTS.register("mirflickr")(
    Layout(
        "MIRFLICKR-25k: mirflickr/im*.jpg and the annotations' text files (v080) in a folder beside it",
        lambda path: _annotations(path) is not None,
        read,
    )
)
