"""What can be promised of images that did not choose the ladder's step.

The step is chosen for holding the limits on the images compared, and figures that chose are too good. So each half of
the images is judged by the step that the other half alone would have chosen (cross-fitting): no image is answered by a
step that it helped to choose, and all of them are used. The steps' answers to all images are there already.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mlkdc.exporting.int8.choice import choose
from mlkdc.exporting.int8.halves import halves
from mlkdc.exporting.parity import compare, map_drop_interval
from mlkdc.exporting.reference import LEAST_POSITIVES, Reference
from mlkdc.figures import number
from mlkdc.records.parity import Parity, Promise, Tolerance


@dataclass(frozen=True)
class Answered:
    """A step's name, and what it answers to all images: ``float32[n, q]``, by the reference's labels."""

    name: str
    answers: np.ndarray


def promise(
    reference: Reference, answered: Sequence[Answered], thresholds: np.ndarray, tolerance: Tolerance
) -> Promise | None:
    """Judge the choice of a step on images that had no part in it.

    Args:
        reference: the torch model's answers to ``n`` images.
        answered: the ladder's steps that gave probabilities, in the order of what they cost on the device.
        thresholds: ``float[q]``.
        tolerance: of the target in int8.

    Returns:
        None where there is no step, or no two images.
    """
    if not answered or len(reference.targets) < 2:
        return None
    second = halves(reference.pixels, reference.targets)
    mixed, chosen = np.empty_like(answered[0].answers), []
    for judged in (second, ~second):
        step = answered[_choice(reference, answered, thresholds, tolerance, ~judged)]
        mixed[judged] = step.answers[judged]
        chosen.append(step.name)
    parity = compare(reference, mixed, thresholds, tolerance, "")
    assert parity.figures is not None, parity.reason
    interval = map_drop_interval(reference.targets, reference.probabilities, mixed)
    doubt = _doubt(reference.targets, parity, interval)
    return Promise(
        images=(int((~second).sum()), int(second.sum())),
        chosen=(chosen[0], chosen[1]),
        figures=parity.figures,
        map_drop_interval_points=interval,
        firm=doubt is None,
        doubt=doubt,
    )


def _choice(
    reference: Reference, answered: Sequence[Answered], thresholds: np.ndarray, tolerance: Tolerance, rows: np.ndarray
) -> int:
    """The step that these images alone would have chosen."""
    part = subset(reference, rows)
    compared = []
    for step in answered:
        compared.append(compare(part, step.answers[rows], thresholds, tolerance, "", interval=False))
    return choose(compared)


def subset(reference: Reference, rows: np.ndarray) -> Reference:
    """The reference of some of its images: ``bool[n]``, or their numbers."""
    files: tuple[Path, ...] = ()
    if reference.files:
        files = tuple(reference.files[row] for row in np.arange(len(reference.targets))[rows])
    return replace(
        reference,
        targets=reference.targets[rows],
        pixels=reference.pixels[rows],
        probabilities=reference.probabilities[rows],
        files=files,
    )


def _doubt(targets: np.ndarray, parity: Parity, map_interval: tuple[float, float]) -> str | None:
    """Why the limits need not hold on other images; None where that is not to be expected."""
    comparison = parity.comparison
    assert comparison is not None
    assert comparison.figures is not None
    figures, allowed = comparison.figures, comparison.tolerance
    if targets.sum(0).max() < 2 * LEAST_POSITIVES:
        return f"no label has {2 * LEAST_POSITIVES} positive images, enough for both halves to judge it"
    if not parity.passed:
        return f"on images that had no part in the choice it is out of its limits ({parity.reason})"
    worst = figures.worst_class_interval_points
    assert worst is not None  # a label with positive images was judged
    if map_interval[1] > allowed.map_drop_points:
        return f"mAP may drop by up to {number(map_interval[1])}, allowed {allowed.map_drop_points:g}"
    if worst[1] > allowed.class_drop_points:
        return (
            f"AP of {figures.worst_class} may drop by up to {number(worst[1])}, allowed {allowed.class_drop_points:g}"
        )
    return None
