"""Metrics of yes/no decisions, and where to put the threshold of each class."""

from dataclasses import dataclass

import numpy as np

from mlkdc.metrics.curve import precision_recall
from mlkdc.metrics.inputs import checked


def _ratio(part: np.ndarray, total: np.ndarray) -> np.ndarray:
    """``part / total``, and 0 where ``total`` is 0."""
    quotient = np.zeros(np.shape(part))
    np.divide(part, total, out=quotient, where=total > 0)
    return quotient


@dataclass(frozen=True)
class Quality:
    """How good decisions are, in 0..1."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Counts:
    """Per class: true positives, predicted positives and actual positives, ``float64[q]`` each."""

    correct: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray

    @classmethod
    def of(cls, truth: np.ndarray, decided: np.ndarray) -> "Counts":
        """Count two ``bool[n, q]`` arrays."""
        correct = (truth & decided).sum(axis=0, dtype=np.float64)
        predicted = decided.sum(axis=0, dtype=np.float64)
        actual = truth.sum(axis=0, dtype=np.float64)
        return cls(correct, predicted, actual)

    def overall(self) -> Quality:
        """OP, OR, OF1: precision, recall and F1 of all decisions pooled (micro)."""
        correct, predicted, actual = self.correct.sum(), self.predicted.sum(), self.actual.sum()
        return Quality(
            precision=float(_ratio(correct, predicted)),
            recall=float(_ratio(correct, actual)),
            f1=float(_ratio(2 * correct, predicted + actual)),
        )

    def per_class(self) -> Quality:
        """CP, CR, CF1: means over classes of their precision, recall and F1 (macro).

        CF1 is the "average per-class F1-score" of L2D (Yang et al., ICCV 2023, section 4) and of its release,
        and scikit-learn's macro F1; some multi-label papers print the harmonic mean of CP and CR instead. A
        class that is never predicted has precision 0. Classes without a positive are skipped, as in mAP.
        """
        scored = self.actual > 0
        correct, predicted, actual = self.correct[scored], self.predicted[scored], self.actual[scored]
        return Quality(
            precision=float(_ratio(correct, predicted).mean()),
            recall=float(_ratio(correct, actual).mean()),
            f1=float(_ratio(2 * correct, predicted + actual).mean()),
        )


def decide_true_count(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """For each image, yes to as many labels as it truly has, the most probable ones: ``bool[n, q]``.

    This uses the right answer; it exists to compare with L2D, whose release scores so. (MSKD's has the same function
    and does not use it: its figures are at logit 0, which is a probability of 0.5.)
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    decided: np.ndarray = rank < truth.sum(axis=1, keepdims=True)
    return decided


def _best_threshold(truth: np.ndarray, probabilities: np.ndarray) -> float:
    curve = precision_recall(truth, probabilities)
    f1 = _ratio(2 * curve.precision * curve.recall, curve.precision + curve.recall)
    best = int(np.argmax(f1))
    score = curve.thresholds[best]
    below = 0.0
    if best > 0:
        below = curve.thresholds[best - 1]
    # Half way to the next lower score: the same decisions here, and no score sits on the threshold itself,
    # where a difference in the last digit (another runtime) would flip the label.
    middle = (score + below) / 2
    # Between neighboring floats there is none, and half way rounds to one of the two.
    if middle > below:
        return float(middle)
    return float(score)


def tune_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The threshold of each class with the highest F1 on these images, the lowest of several (a label is given when
    p >= threshold).

    Args:
        targets: ``uint8[n, q]`` of zeros and ones; validation images, never those that are scored later.
        probabilities: ``float[n, q]``.

    Returns:
        ``float64[q]`` in 0..1; 0.5 for a class without a positive.

    Raises:
        ValueError, MlkdcError: as :func:`mlkdc.metrics.inputs.checked`.
    """
    truth, scores = checked(targets, probabilities)
    # Without a positive no threshold has an F1: such a class keeps the usual one.
    thresholds = np.full(truth.shape[1], 0.5)
    for label in np.flatnonzero(truth.any(axis=0)):
        thresholds[label] = _best_threshold(truth[:, label], scores[:, label])
    return thresholds
