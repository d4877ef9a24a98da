"""`stratified_cut` cuts row by row as the iterative-stratification package does."""

import numpy as np
import pytest
from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

from mlkdc.data.split import stratified_cut


def by_the_library(targets: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    cutter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=fraction, random_state=seed)
    return next(cutter.split(targets, targets))


def random_targets(seed: int) -> np.ndarray:
    """At least two labels, as the library requires; rare, common and missing ones, and rows without any."""
    rng = np.random.default_rng(seed)
    rows, labels = int(rng.integers(5, 400)), int(rng.integers(2, 30))
    frequency = rng.choice([0.0, 0.005, 0.05, 0.3, 0.9, 1.0], labels)
    targets = rng.random((rows, labels)) < frequency
    if seed % 4 == 0:
        targets[rng.random(rows) < 0.3] = False
    if seed % 5 == 0:
        targets = np.repeat(targets[: rows // 3 + 2], 3, axis=0)
    targets[0, :2] = True, False  # the library takes no matrix that has one value only
    return targets


@pytest.mark.parametrize("fraction", [0.1, 0.125, 0.2, 0.25, 1 / 3, 0.5, 0.77])
def test_the_same_rows(fraction: float) -> None:
    for case in range(60):
        targets = random_targets(case)
        expected_rest, expected_part = by_the_library(targets, fraction, seed=case % 7)
        rest, part = stratified_cut(targets, fraction, seed=case % 7)
        np.testing.assert_array_equal(rest, expected_rest)
        np.testing.assert_array_equal(part, expected_part)


@pytest.mark.parametrize("seed", range(5))
def test_the_same_rows_of_a_large_matrix_and_of_what_is_left(seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.random((3000, 38)) < 0.3 / (1 + np.arange(38))
    rest, part = stratified_cut(targets, 0.2, seed)
    expected_rest, expected_part = by_the_library(targets, 0.2, seed)
    np.testing.assert_array_equal(part, expected_part)
    fraction = 0.1 / (0.7 + 0.1)
    _, second = stratified_cut(targets[rest], fraction, seed)
    _, expected_second = by_the_library(targets[expected_rest], fraction, seed)
    np.testing.assert_array_equal(second, expected_second)


def test_every_row_is_in_one_part() -> None:
    targets = random_targets(3)
    rest, part = stratified_cut(targets, 0.3, 0)
    assert sorted([*rest, *part]) == list(range(len(targets)))
