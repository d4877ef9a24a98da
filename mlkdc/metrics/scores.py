"""All figures of one model on one split."""

from dataclasses import dataclass

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.metrics.decision import Counts, decide_true_count
from mlkdc.metrics.inputs import checked
from mlkdc.metrics.ranking import average_precision, top1


@dataclass(frozen=True)
class Scores:
    """The figures of one evaluation.

    Args:
        summary: percent, by name: mAP; OP, OR, OF1, CP, CR, CF1 at threshold 0.5; the same with ``@tuned`` at
            per-class thresholds, when those were given; OF1@n and CF1@n with each image's true number of
            labels known (the form of the L2D and MSKD releases); P@1, R@1.
        per_class_ap: percent, in class order; None for a class without a positive.
        classes_without_positive: how many classes mAP, CP, CR and CF1 leave out.
    """

    summary: dict[str, float]
    per_class_ap: list[float | None]
    classes_without_positive: int


def evaluate(targets: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray | None = None) -> Scores:
    """Score probabilities against targets.

    Args:
        targets: ``uint8[n, q]`` of zeros and ones.
        probabilities: ``float[n, q]`` in 0..1.
        thresholds: ``float[q]`` from :func:`mlkdc.metrics.tune_thresholds` on other images, or None.

    Raises:
        UsageError: no image has any label, so that nothing can be scored.
        ValueError, MlkdcError: as :func:`mlkdc.metrics.inputs.checked`; thresholds of another shape.
    """
    truth, scores = checked(targets, probabilities)
    if not truth.any():
        raise UsageError(f"none of the {len(truth)} images has a label, so nothing can be scored; check the labels")
    ap = average_precision(truth, scores)
    summary = {"mAP": float(np.nanmean(ap)), **_decided(truth, scores >= 0.5)}
    if thresholds is not None:
        limits = np.asarray(thresholds, dtype=np.float64)
        if limits.shape != (truth.shape[1],):
            raise ValueError(f"expected {truth.shape[1]} thresholds, one per class, got shape {limits.shape}")
        summary |= {f"{name}@tuned": value for name, value in _decided(truth, scores >= limits).items()}
    peeked = _decided(truth, decide_true_count(truth, scores))
    precision, recall = top1(truth, scores)
    summary |= {"OF1@n": peeked["OF1"], "CF1@n": peeked["CF1"], "P@1": precision, "R@1": recall}
    return Scores(
        summary={name: 100 * value for name, value in summary.items()},
        per_class_ap=[None if np.isnan(value) else 100 * float(value) for value in ap],
        classes_without_positive=int(np.isnan(ap).sum()),
    )


def _decided(truth: np.ndarray, decided: np.ndarray) -> dict[str, float]:
    counts = Counts.of(truth, decided)
    return {**counts.overall(), **counts.per_class()}
