"""NUS-WIDE, 81 concepts (Chua et al., 2009): all 161,789 train and 107,859 test images of the official lists.

Images that Flickr no longer has are missing files; images without any concept are kept.
"""

import os
from pathlib import Path

import numpy as np

from mlkdc.data.layouts import LAYOUTS, Layout, ReadOptions, read_lines, read_text
from mlkdc.errors import UsageError
from mlkdc.types import Sample, TaggedImages

_LISTS = ("ImageList", "")
_CONCEPTS = ("", "ConceptsList", "ImageList")
_TRUTHS = ("Groundtruth/TrainTestLabels", "TrainTestLabels", "Groundtruth")
_IMAGES = ("Flickr", "images", "Images", "")


def _locate(root: Path, places: tuple[str, ...], name: str) -> Path:
    """The path of ``name`` in the first of the places below ``root`` that has it; in the first of all if none has."""
    for place in places:
        if os.path.exists(root / place / name):
            return root / place / name
    return root / places[0] / name


def _column(file: Path, length: int) -> np.ndarray:
    """One concept's zeros and ones, as ``bool[n]``."""
    cells = read_text(file).split()
    if len(cells) != length or not set(cells) <= {"0", "1"}:
        raise UsageError(f"{file}: expected {length} lines of 0 or 1, as its image list has; got {len(cells)} lines")
    column: np.ndarray = np.array(cells) == "1"
    return column


def _samples(root: Path, classes: list[str], part: str) -> list[Sample]:
    """One of the parts ``Train`` and ``Test``."""
    listed = _locate(root, _LISTS, f"{part}Imagelist.txt")
    # The official lists were written on Windows.
    names = [line.replace("\\", "/") for line in read_lines(listed)]
    if not names:
        raise UsageError(f"{listed}: lists no image")
    truth = _locate(root, _TRUTHS, f"Labels_{classes[0]}_{part}.txt").parent
    columns = [_column(truth / f"Labels_{name}_{part}.txt", len(names)) for name in classes]
    images = _locate(root, _IMAGES, Path(names[0]).parts[0]).parent
    samples = []
    for name, row in zip(names, np.stack(columns, axis=1), strict=True):
        labels = tuple(np.flatnonzero(row).tolist())
        samples.append(Sample(images / name, labels, part.lower()))
    return samples


def read(path: Path, options: ReadOptions) -> TaggedImages:
    """The official train and test parts; there is no val."""
    concepts = _locate(path, _CONCEPTS, "Concepts81.txt")
    classes = read_lines(concepts)
    if not classes:
        raise UsageError(f"{concepts}: expected one concept per line, got none")
    samples = [*_samples(path, classes, "Train"), *_samples(path, classes, "Test")]
    return TaggedImages(path.name, path, "nuswide", tuple(classes), tuple(samples))


def _detect(path: Path) -> bool:
    return os.path.isfile(_locate(path, _LISTS, "TrainImagelist.txt"))


LAYOUTS.register("nuswide")(
    Layout(
        "NUS-WIDE: ImageList/{Train,Test}Imagelist.txt, Groundtruth/TrainTestLabels/Labels_*_{Train,Test}.txt, "
        "Concepts81.txt, Flickr/",
        _detect,
        read,
    )
)
