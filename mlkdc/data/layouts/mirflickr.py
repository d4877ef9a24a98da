"""MIRFLICKR-25k (Huiskes and Lew, 2008): 24 "potential" labels, annotations version 080.

The 14 stricter ``*_r1`` ("relevant") lists are not used: they repeat 14 of the 24 labels, and the published
distillation results are on the 24. There is no official split.
"""

import os
import re
from pathlib import Path

from mlkdc.data.files import entries, folders_in
from mlkdc.data.layouts import LAYOUTS, UNSPLIT, Layout, ReadOptions, read_lines
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
    return [path, *folders_in(path), *folders_in(path / "mirflickr")]


def _annotations(path: Path) -> Path | None:
    """The folder of the annotations."""
    for folder in _folders(path):
        # Two names that no other data set has.
        if os.path.isfile(folder / "plant_life.txt") and os.path.isfile(folder / "structures.txt"):
            return folder
    return None


def _images(path: Path) -> tuple[Path, set[int]] | None:
    """The folder of the images and their numbers."""
    for folder in _folders(path):
        numbers = set()
        for file in entries(folder):
            match = _IMAGE.fullmatch(file.name)
            if match:
                numbers.add(int(match[1]))
        if numbers:
            return folder, numbers
    return None


def _numbers(file: Path) -> set[int]:
    """The image numbers that a label's file lists."""
    numbers = set()
    for line in read_lines(file):
        if not line.isdecimal():
            raise UsageError(f"{file}: expected one image number per line, got {line!r}")
        numbers.add(int(line))
    return numbers


def read(path: Path, options: ReadOptions) -> TaggedImages:
    """Every image on disk and every annotated one, so that a missing file is reported as one."""
    annotations, images = _annotations(path), _images(path)
    assert annotations is not None, "detect() comes first"
    if images is None:
        raise UsageError(f"{path}: has MIRFLICKR's annotations but no image im1.jpg, ... in it or in mirflickr/")
    folder, on_disk = images
    members = [_numbers(annotations / f"{name}.txt") for name in CLASSES]
    samples = []
    for number in sorted(on_disk.union(*members)):
        labels = tuple(label for label, member in enumerate(members) if number in member)
        samples.append(Sample(folder / f"im{number}.jpg", labels, UNSPLIT))
    return TaggedImages(path.name, path, "mirflickr", CLASSES, tuple(samples))


def _detect(path: Path) -> bool:
    return _annotations(path) is not None


LAYOUTS.register("mirflickr")(
    Layout(
        "MIRFLICKR-25k: mirflickr/im*.jpg and the annotations' text files (v080) in a folder next to it",
        _detect,
        read,
    )
)
