"""Plain records that several layers share."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

SPLITS = ("train", "val", "test")
#: Where splits come from, if the data has them.
OFFICIAL = "official"


@dataclass(frozen=True, slots=True)
class Box:
    """An object's box in pixels of the stored image: left, top, right, bottom (right and bottom exclusive)."""

    label: int
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Sample:
    """One tagged image. ``labels`` are indices into the data set's ``classes``, sorted, without repeats."""

    image: Path
    labels: tuple[int, ...]
    split: str
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with the data: its ``kind`` (e.g. ``unreadable image``), where it is, and details."""

    kind: str
    where: str
    detail: str = ""

    def __str__(self) -> str:
        if not self.detail:
            return f"{self.kind}: {self.where}"
        return f"{self.kind}: {self.where} ({self.detail})"


@dataclass(frozen=True)
class TaggedImages:
    """A multi-label data set as read from disk.

    Args:
        name: short name, e.g. the folder's.
        root: what ``--data`` pointed at.
        layout: the reader that understood it (``csv``, ``voc``, ``coco``, ...).
        classes: label names, in the order of the model's outputs.
        samples: all images of all splits.
        problems: what the reader noticed (readers do not open images).
        split_from: ``official`` or a sentence saying how the split was made.
        notes: how what could be meant in several ways was read, in sentences.
    """

    name: str
    root: Path
    layout: str
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...] = ()
    split_from: str = OFFICIAL
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split, in stored order; empty when the source has no such split."""
        return tuple(sample for sample in self.samples if sample.split == name)

    @cached_property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits that hold at least one sample, in the order train, val, test."""
        present = set()
        for sample in self.samples:
            present.add(sample.split)
        return tuple(name for name in SPLITS if name in present)

    def targets(self, split: str) -> np.ndarray:
        """Labels of one split as ``uint8[n, q]`` of zeros and ones."""
        samples = self.split(split)
        matrix = np.zeros((len(samples), len(self.classes)), dtype=np.uint8)
        for row, sample in enumerate(samples):
            matrix[row, list(sample.labels)] = 1
        return matrix
