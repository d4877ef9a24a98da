"""Metrics of yes/no decisions, and where to put the threshold of each class."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import precision_recall_curve

from mlkdc.metrics.inputs import checked


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, and 0 where ``whole`` is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=whole > 0)


@dataclass(frozen=True)
class Counts:
    """Per class: true positives, predicted positives and actual positives, ``float64[q]`` each."""

    correct: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray

    @classmethod
    def of(cls, truth: np.ndarray, decided: np.ndarray) -> "Counts":
        """Count two ``bool[n, q]`` arrays."""
        totals = (each.sum(axis=0).astype(np.float64) for each in (truth & decided, decided, truth))
        return cls(*totals)

    def overall(self) -> dict[str, float]:
        """OP, OR, OF1 in 0..1: precision, recall and F1 of all decisions in one pot (micro)."""
        correct, predicted, actual = self.correct.sum(), self.predicted.sum(), self.actual.sum()
        return {
            "OP": float(_ratio(correct, predicted)),
            "OR": float(_ratio(correct, actual)),
            "OF1": float(_ratio(2 * correct, predicted + actual)),
        }

    def per_class(self) -> dict[str, float]:
        """CP, CR, CF1 in 0..1: means over classes of their precision, recall and F1 (macro).

        CF1 is the "average per-class F1-score" of L2D (Yang et al., ICCV 2023, section 4) and of its release,
        and scikit-learn's macro F1; some multi-label papers print the harmonic mean of CP and CR instead. A
        class that is never predicted has precision 0. Classes without a positive are left out, as from mAP.
        """
        keep = self.actual > 0
        correct, predicted, actual = self.correct[keep], self.predicted[keep], self.actual[keep]
        return {
            "CP": float(_ratio(correct, predicted).mean()),
            "CR": float(_ratio(correct, actual).mean()),
            "CF1": float(_ratio(2 * correct, predicted + actual).mean()),
        }


def decide_true_count(truth: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """For each image, yes to as many labels as it truly has, the most probable ones: ``bool[n, q]``.

    This peeks at the answer; it exists to compare with papers whose releases score so (L2D, MSKD).
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    rank = np.argsort(order, axis=1, kind="stable")
    return rank < truth.sum(axis=1, keepdims=True)


def _best_threshold(truth: np.ndarray, probabilities: np.ndarray) -> float:
    precision, recall, scores = precision_recall_curve(truth, probabilities)
    total = precision[:-1] + recall[:-1]
    best = int(np.argmax(_ratio(2 * precision[:-1] * recall[:-1], total)))
    # Half way to the next lower score: the same decisions here, and no score sits on the threshold itself,
    # where a difference in the last digit (another runtime) would flip the label.
    below = scores[best - 1] if best else 0.0
    middle = (scores[best] + below) / 2
    return float(middle if middle > below else scores[best])


def tune_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The threshold of each class with the highest F1 on these images (a label is given when p >= threshold).

    Args:
        targets: ``uint8[n, q]`` of zeros and ones; validation images, never those that are scored later.
        probabilities: ``float[n, q]``.

    Returns:
        ``float64[q]`` in 0..1; 0.5 for a class without a positive.

    Raises:
        ValueError, MlkdcError: as :func:`mlkdc.metrics.inputs.checked`.
    """
    truth, scores = checked(targets, probabilities)
    thresholds = np.full(truth.shape[1], 0.5)
    for k in np.flatnonzero(truth.any(axis=0)):
        thresholds[k] = _best_threshold(truth[:, k], scores[:, k])
    return thresholds
