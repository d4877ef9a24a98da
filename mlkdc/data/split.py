"""A split for data that come without one: seeded, and with every label in the same proportion in every part.

Iterative stratification is algorithm 1 of Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label
data" (ECML PKDD 2011). The parts are, row by row, those of ``MultilabelStratifiedShuffleSplit`` of the package
iterative-stratification (T. J. Bradberry), which drew the splits of earlier versions.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.types import SPLITS, Sample, TaggedImages

FRACTIONS = (0.7, 0.1, 0.2)
"""Of the images that go to train, val and test."""

FEWEST = 20
"""Fewer images than this would give a val split of one image or none."""

UNASSIGNED = -1


def stratified(data: TaggedImages, seed: int) -> TaggedImages:
    """The same images with every label spread over train, val and test in the proportions of ``FRACTIONS``.

    A label with very few images goes to train first.

    Raises:
        UsageError: there are fewer than ``FEWEST`` images.
    """
    if len(data.samples) < FEWEST:
        raise UsageError(
            f"{data.root}: {len(data.samples)} images are too few to split into train, val and test; "
            f"give at least {FEWEST}, or a column 'split' that says which is which"
        )
    train_fraction, val_fraction, test_fraction = FRACTIONS
    targets = _targets(data.samples, len(data.classes))
    rest, test = stratified_cut(targets, test_fraction, seed)
    # Train and val share what test leaves, so val is a larger fraction of that.
    _, val_of_rest = stratified_cut(targets[rest], val_fraction / (train_fraction + val_fraction), seed)
    names = np.full(len(targets), SPLITS[0], dtype=object)
    names[rest[val_of_rest]] = SPLITS[1]
    names[test] = SPLITS[2]
    samples = []
    for sample, name in zip(data.samples, names, strict=True):
        samples.append(replace(sample, split=name))
    percent = "/".join(f"{100 * fraction:.0f}" for fraction in FRACTIONS)
    return replace(
        data,
        samples=tuple(samples),
        split_from=f"made here, as the source has none: iterative-stratified {percent} train/val/test, seed {seed}",
    )


def _targets(samples: Sequence[Sample], classes: int) -> np.ndarray:
    """``bool[n, q + 1]``; the last column marks images without any label, so that they are spread evenly too."""
    matrix = np.zeros((len(samples), classes + 1), dtype=bool)
    for row, sample in enumerate(samples):
        matrix[row, list(sample.labels) or [classes]] = True
    return matrix


def stratified_cut(targets: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut rows in two so that both parts have every label in the proportion of their sizes, as far as possible.

    Args:
        targets: ``bool[n, q]``.
        fraction: of the rows that go to the second part, in 0..1; rounded up to complete rows.
        seed: of the order in which rows are assigned, and of ties.

    Returns:
        Row numbers of the first and of the second part, ascending. Their sizes can differ from the intended ones by a
        few rows: proportions come first.
    """
    random = np.random.RandomState(seed)
    rows = len(targets)
    order = random.permutation(rows)
    size = math.ceil(fraction * rows)
    part_of = np.empty(rows, dtype=int)
    part_of[order] = _assign(targets[order], np.array([rows - size, size]) / rows, random)
    return np.flatnonzero(part_of == 0), np.flatnonzero(part_of == 1)


def _assign(targets: np.ndarray, fractions: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """The part of each row, ``int[n]``: the rarest label first, its rows one by one where they are needed most."""
    part_of = np.full(len(targets), UNASSIGNED)
    # How many rows each part still needs: in all, and of each label.
    needed = fractions * len(targets)
    needed_by_label = np.outer(fractions, targets.sum(axis=0))
    # By label, the rows that are not assigned yet.
    waiting = targets.sum(axis=0)
    while waiting.any():
        rarest = np.flatnonzero(waiting == waiting[waiting > 0].min())
        label = _draw(rarest, random)
        for row in np.flatnonzero(targets[:, label] & (part_of == UNASSIGNED)):
            neediest = _largest(np.arange(len(fractions)), needed_by_label[:, label])
            part = _draw(_largest(neediest, needed), random)
            part_of[row] = part
            needed[part] -= 1
            needed_by_label[part, targets[row]] -= 1
            waiting -= targets[row]
    for row in np.flatnonzero(part_of == UNASSIGNED):
        part = _draw(_largest(np.arange(len(fractions)), needed), random)
        part_of[row] = part
        needed[part] -= 1
    return part_of


def _largest(candidates: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Those of the candidates that have the largest value."""
    of_candidates = values[candidates]
    chosen: np.ndarray = candidates[of_candidates == of_candidates.max()]
    return chosen


def _draw(candidates: np.ndarray, random: np.random.RandomState) -> int:
    """One of the candidates, by chance where there are several."""
    # Most often there is one, and choice() is slow. It would draw no random number for it.
    if len(candidates) == 1:
        return int(candidates[0])
    return int(random.choice(candidates))
