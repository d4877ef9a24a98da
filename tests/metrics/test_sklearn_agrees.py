"""Average precision, the precision-recall curve and tuned thresholds are scikit-learn's, whatever the scores."""

from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve

from mlkdc.metrics import average_precision, tune_thresholds
from mlkdc.metrics.curve import precision_recall
from mlkdc.metrics.ranking import drawn_average_precision

CASES_PER_KIND = 60


def threshold_by_sklearn(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """The threshold of the highest F1, as mlkdc tuned it when it still used scikit-learn."""
    precision, recall, scores = precision_recall_curve(truth, probabilities)
    total = precision[:-1] + recall[:-1]
    product = 2 * precision[:-1] * recall[:-1]
    f1 = np.divide(product, total, out=np.zeros(np.shape(product)), where=total > 0)
    best = int(np.argmax(f1))
    below = scores[best - 1] if best else 0.0
    middle = (scores[best] + below) / 2
    return float(middle if middle > below else scores[best])


def scores_of_kind(kind: str, rng: np.random.Generator, targets: np.ndarray) -> np.ndarray:
    logits = 2.0 * targets - 1 + rng.normal(0, rng.uniform(0.1, 3), targets.shape)
    probabilities = 1 / (1 + np.exp(-logits))
    if kind == "ties":
        return np.round(probabilities, int(rng.integers(0, 3)))
    if kind == "constant":
        return np.full(targets.shape, rng.choice([0.0, 0.3, 0.5, 1.0]))
    if kind == "float32":
        return probabilities.astype(np.float32)
    if kind == "float16":
        return probabilities.astype(np.float16)
    if kind == "saturated":
        return 1 / (1 + np.exp(-40 * logits))
    if kind == "neighboring floats":
        return 0.5 + np.spacing(0.5) * rng.integers(0, 4, targets.shape)
    return probabilities


def cases(kind: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(targets, probabilities) of several sizes, with and without rare labels and labels that all images have."""
    for seed in range(CASES_PER_KIND):
        rng = np.random.default_rng([seed, len(kind)])
        images, labels = int(rng.integers(1, 200)), int(rng.integers(1, 8))
        targets = (rng.random((images, labels)) < rng.uniform(0, 1, labels)).astype(np.uint8)
        if seed % 3 == 0:
            targets[:, 0] = 0
            targets[rng.integers(images), 0] = 1
        if seed % 3 == 1:
            targets[:, 0] = 1
        yield targets, scores_of_kind(kind, rng, targets)


KINDS = ("plain", "ties", "constant", "float32", "float16", "saturated", "neighboring floats")


@pytest.mark.parametrize("kind", KINDS)
def test_average_precision(kind: str) -> None:
    for targets, probabilities in cases(kind):
        values = average_precision(targets, probabilities)
        for label, value in enumerate(values):
            if not targets[:, label].any():
                assert np.isnan(value)
                continue
            expected = average_precision_score(targets[:, label], probabilities[:, label].astype(np.float64))
            assert value == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_average_precision_of_draws(kind: str) -> None:
    """Of the images that were drawn, as often as they were."""
    for targets, probabilities in cases(kind):
        draws = np.random.default_rng(3).integers(0, len(targets), (4, len(targets)))
        counts = np.array([np.bincount(rows, minlength=len(targets)) for rows in draws])
        values = drawn_average_precision(targets, probabilities, counts)
        for rows, of_draw in zip(draws, values, strict=True):
            for label, value in enumerate(of_draw):
                truth, scores = targets[rows, label], probabilities[rows, label].astype(np.float64)
                if not truth.any():
                    assert np.isnan(value)
                    continue
                assert value == pytest.approx(average_precision_score(truth, scores), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_curve(kind: str) -> None:
    for targets, probabilities in cases(kind):
        for label in np.flatnonzero(targets.any(axis=0)):
            truth, scores = targets[:, label].astype(bool), probabilities[:, label].astype(np.float64)
            precision, recall, thresholds = precision_recall_curve(truth, scores)
            curve = precision_recall(truth, scores)
            np.testing.assert_array_equal(curve.thresholds, thresholds)
            np.testing.assert_allclose(curve.precision, precision[:-1], rtol=1e-12)
            np.testing.assert_allclose(curve.recall, recall[:-1], rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_tuned_thresholds_are_equal_to_the_last_bit(kind: str) -> None:
    for targets, probabilities in cases(kind):
        thresholds = tune_thresholds(targets, probabilities)
        for label, threshold in enumerate(thresholds):
            truth, scores = targets[:, label].astype(bool), probabilities[:, label].astype(np.float64)
            expected = threshold_by_sklearn(truth, scores) if truth.any() else 0.5
            assert threshold == expected


def test_one_positive_and_all_positives() -> None:
    scores = np.array([[0.9], [0.4], [0.4], [0.1]])
    assert average_precision(np.array([[0], [1], [0], [0]]), scores) == pytest.approx([1 / 3])
    assert average_precision(np.ones((4, 1)), scores) == pytest.approx([1])
    assert average_precision(np.array([[0], [0], [0], [1]]), np.full((4, 1), 0.5)) == pytest.approx([1 / 4])
