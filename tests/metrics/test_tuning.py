"""Thresholds of classes with few images: shared, or 0.5, and never where three images happen to lie."""

import numpy as np
import pytest
import sklearn.metrics as sk

from mlkdc.metrics import tune, tune_thresholds
from mlkdc.metrics.tuning import FEWEST


def many(images: int = 200, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = (rng.random((images, classes)) < 0.4).astype(np.uint8)
    return targets, np.clip(0.3 * targets + 0.7 * rng.random((images, classes)), 0, 1)


def test_classes_with_enough_images_keep_their_thresholds() -> None:
    targets, probabilities = many()
    tuned = tune(targets, probabilities)
    np.testing.assert_array_equal(tuned.thresholds, tune_thresholds(targets, probabilities))
    assert tuned.sharing == 0


@pytest.mark.parametrize("value", [0, 1])
def test_a_class_that_lacks_either_kind_shares_the_best_threshold_of_all(value: int) -> None:
    targets, probabilities = many()
    targets[:, 1] = value
    targets[: FEWEST - 1, 1] = 1 - value
    probabilities[0, 1] = 1e-6
    tuned = tune(targets, probabilities)
    assert tuned.sharing == 1
    alone = tune_thresholds(targets, probabilities)
    np.testing.assert_array_equal(tuned.thresholds[[0, 2]], alone[[0, 2]])
    cuts = np.unique(probabilities)
    best = max(sk.f1_score(targets, probabilities >= cut, average="micro") for cut in cuts)
    shared = sk.f1_score(targets, probabilities >= tuned.thresholds[1], average="micro")
    assert shared == pytest.approx(best)
    targets[FEWEST - 1, 1] = 1 - value
    assert tune(targets, probabilities).sharing == 0


def test_three_images_tune_nothing() -> None:
    targets = np.array([[1, 0], [1, 1], [1, 0]])
    probabilities = np.array([[1.6e-6, 0.2], [0.9, 0.3], [0.8, 0.1]])
    assert tune_thresholds(targets, probabilities)[0] == pytest.approx(8e-7)
    tuned = tune(targets, probabilities)
    assert tuned.thresholds.tolist() == [0.5, 0.5]
    assert tuned.sharing == 2
