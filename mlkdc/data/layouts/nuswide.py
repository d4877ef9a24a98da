"""NUS-WIDE, 81 concepts (Chua et al., 2009): all 161,789 train and 107,859 test images of the official lists.

Pictures that Flickr no longer has are missing files; images without any concept are kept.
"""

from pathlib import Path

import numpy as np

from mlkdc.data.layouts import LAYOUTS, Layout, read_lines, read_text
from mlkdc.errors import UsageError
from mlkdc.types import Sample, TaggedImages

_LISTS = ("ImageList", "")
_CONCEPTS = ("Concepts81.txt", "ConceptsList/Concepts81.txt", "ImageList/Concepts81.txt")
_TRUTHS = ("Groundtruth/TrainTestLabels", "TrainTestLabels", "Groundtruth")
_IMAGES = ("Flickr", "images", "Images", "")


def _first(root: Path, places: tuple[str, ...], name: str) -> Path:
    """The first ``place`` below ``root`` that holds ``name``; the first of all when none does."""
    return next((root / place for place in places if (root / place / name).exists()), root / places[0])


def _column(file: Path, length: int) -> np.ndarray:
    """One concept's zeros and ones, as ``bool[n]``."""
    cells = read_text(file).split()
    if len(cells) != length or not set(cells) <= {"0", "1"}:
        raise UsageError(f"{file}: expected {length} lines of 0 or 1, as its image list has; got {len(cells)} lines")
    return np.array(cells) == "1"


def _samples(root: Path, classes: list[str], part: str) -> list[Sample]:
    """One of the parts ``Train`` and ``Test``."""
    listed = _first(root, _LISTS, f"{part}Imagelist.txt") / f"{part}Imagelist.txt"
    names = [line.replace("\\", "/") for line in read_lines(listed)]
    if not names:
        raise UsageError(f"{listed}: lists no image")
    truth = _first(root, _TRUTHS, f"Labels_{classes[0]}_{part}.txt")
    columns = [_column(truth / f"Labels_{name}_{part}.txt", len(names)) for name in classes]
    targets = np.stack(columns, axis=1)
    images = _first(root, _IMAGES, Path(names[0]).parts[0])
    return [
        Sample(images / name, tuple(np.flatnonzero(row).tolist()), part.lower())
        for name, row in zip(names, targets, strict=True)
    ]


def read(path: Path) -> TaggedImages:
    """The official train and test parts; there is no val."""
    concepts = next((path / place for place in _CONCEPTS if (path / place).is_file()), path / _CONCEPTS[0])
    classes = read_lines(concepts)
    if not classes:
        raise UsageError(f"{concepts}: expected one concept per line, got none")
    samples = [sample for part in ("Train", "Test") for sample in _samples(path, classes, part)]
    return TaggedImages(path.name, path, "nuswide", tuple(classes), tuple(samples))


def _detect(path: Path) -> bool:
    return any((path / place / "TrainImagelist.txt").is_file() for place in _LISTS)


LAYOUTS.register("nuswide")(
    Layout(
        "NUS-WIDE: ImageList/{Train,Test}Imagelist.txt, Groundtruth/TrainTestLabels/Labels_*_{Train,Test}.txt, "
        "Concepts81.txt, Flickr/",
        _detect,
        read,
    )
)
