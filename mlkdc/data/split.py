"""A split for data that come without one: seeded and iterative-stratified (Sechidis et al., ECML PKDD 2011)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

from mlkdc.errors import UsageError
from mlkdc.types import SPLITS, Sample, TaggedImages

SHARES = (0.7, 0.1, 0.2)
"""Shares of train, val and test."""

FEWEST = 20
"""Fewer images than this give a val split of one or none."""


def _targets(samples: Sequence[Sample], classes: int) -> np.ndarray:
    """``int[n, q + 1]``; the last column marks images without any label, so that they are spread evenly too."""
    matrix = np.zeros((len(samples), classes + 1), dtype=int)
    for row, sample in enumerate(samples):
        matrix[row, list(sample.labels) or [classes]] = 1
    return matrix


def _cut(targets: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of the larger part and of the part of size ``share``."""
    cutter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    return next(cutter.split(targets, targets))


def stratified(data: TaggedImages, seed: int) -> TaggedImages:
    """The same images with every label spread over train, val and test in the proportions of ``SHARES``.

    A label with very few images goes to train first.

    Raises:
        UsageError: there are fewer than ``FEWEST`` images.
    """
    if len(data.samples) < FEWEST:
        raise UsageError(
            f"{data.root}: {len(data.samples)} images are too few to split into train, val and test; "
            f"give at least {FEWEST}, or a column 'split' that says which is which"
        )
    targets = _targets(data.samples, len(data.classes))
    rest, test = _cut(targets, SHARES[2], seed)
    _, inner = _cut(targets[rest], SHARES[1] / (SHARES[0] + SHARES[1]), seed)
    names = np.full(len(targets), SPLITS[0], dtype=object)
    names[rest[inner]], names[test] = SPLITS[1], SPLITS[2]
    percent = "/".join(f"{100 * share:.0f}" for share in SHARES)
    return replace(
        data,
        samples=tuple(replace(sample, split=name) for sample, name in zip(data.samples, names, strict=True)),
        split_from=f"made here, as the source has none: iterative-stratified {percent} train/val/test, seed {seed}",
    )
