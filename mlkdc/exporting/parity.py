"""Is the artifact the model? Both answer the same real pictures, the artifact in a process of its own."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.data.runs import tuning_split
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.metrics import average_precision
from mlkdc.models import MultiLabelModel
from mlkdc.runtime.targets import Tolerance
from mlkdc.train.input.store import ImageStore
from mlkdc.train.predict import predict
from mlkdc.types import TaggedImages

IMAGES = 1024
# Two float32 programs round differently. Where both answers are this close, a decision on the other side of a
# threshold, or another order of pictures with equal answers, says nothing about the export. That is for targets that
# tolerate no larger difference: int8 and half precision are judged by their answers as they are.
ROUNDING = 1e-4
# The AP of a class with fewer positive pictures jumps by many points when two of them change places.
LEAST_POSITIVES = 10


@dataclass(frozen=True)
class Reference:
    """What an artifact is compared with: the torch model's answers to ``n`` pictures.

    Args:
        split: where the pictures are from.
        classes: names of the ``q`` labels.
        targets: ``uint8[n, q]``.
        pixels: ``uint8[n, 3, s, s]``.
        torch: probabilities ``float32[n, q]`` of the torch model.
    """

    split: str
    classes: list[str]
    targets: np.ndarray
    pixels: np.ndarray
    torch: np.ndarray


def compare(reference: Reference, answers: np.ndarray, thresholds: np.ndarray, tolerance: Tolerance) -> dict[str, Any]:
    """The ``parity`` entry of a manifest, with ``passed`` and, where that is false, the ``reason``.

    Where no difference above ``ROUNDING`` is tolerated, those that are can still flip a label at its threshold, and
    reorder pictures that a model hardly tells apart, which moves its AP. Both are recorded, and do not fail an
    export. Everywhere else ``mAP_drop`` is ``mAP_torch - mAP_artifact``, and every flip counts. The worst class is the
    one whose AP falls most, of those with at least ``LEAST_POSITIVES`` positive pictures (of all, if none has so many).

    Args:
        reference: the torch model's answers.
        answers: probabilities ``float32[n, q]`` of the artifact.
        thresholds: ``float[q]``; a label is given when its probability is at least this.
        tolerance: of the target and precision.
    """
    torch, artifact = reference.torch.astype(np.float64), answers.astype(np.float64)
    figures: dict[str, Any] = {
        "images": len(torch),
        "split": reference.split,
        "mAP_torch": _mean_ap(reference.targets, torch),
        "tolerance": tolerance.model_dump(),
    }
    if not np.isfinite(artifact).all():
        unknown = dict.fromkeys(
            ("max_probability_difference", "label_flips", "mAP_artifact", "mAP_drop", "worst_class", "worst_class_drop")
        )
        return {**figures, **unknown, "passed": False, "reason": "the exported model gives NaN or infinity"}
    difference = np.abs(torch - artifact)
    rounding = tolerance.probability if tolerance.probability <= ROUNDING else 0.0
    rounded = np.where(difference <= rounding, torch, artifact)
    decided = torch >= thresholds
    flips = int((decided != (rounded >= thresholds)).sum())
    figures |= {
        "max_probability_difference": float(difference.max()),
        "label_flips": flips,
        "label_flips_by_rounding": int((decided != (artifact >= thresholds)).sum()) - flips,
        "mAP_artifact": _mean_ap(reference.targets, artifact),
        "mAP_drop": figures["mAP_torch"] - _mean_ap(reference.targets, rounded),
        **_worst_class(reference, torch, rounded),
    }
    reason = _breach(figures, torch.size, tolerance)
    return {**figures, "passed": reason is None, "reason": reason}


def _worst_class(reference: Reference, torch: np.ndarray, artifact: np.ndarray) -> dict[str, Any]:
    """Name and fall of AP, in points, of the class that falls most; None and 0 where no picture has a label."""
    positives = reference.targets.sum(0)
    judged = np.flatnonzero(positives >= LEAST_POSITIVES)
    judged = judged if judged.size else np.flatnonzero(positives)
    if not judged.size:
        return {"worst_class": None, "worst_class_drop": 0.0, "classes_judged": 0}
    targets = reference.targets[:, judged]
    falls = 100 * (average_precision(targets, torch[:, judged]) - average_precision(targets, artifact[:, judged]))
    worst = int(np.argmax(falls))
    return {
        "worst_class": reference.classes[judged[worst]],
        "worst_class_drop": float(falls[worst]),
        "classes_judged": len(judged),
    }


def _mean_ap(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """In percent; 0 where no picture has a label."""
    if not targets.any():
        return 0.0
    return 100 * float(np.nanmean(average_precision(targets, probabilities)))


def _breach(figures: dict[str, Any], decisions: int, tolerance: Tolerance) -> str | None:
    difference, flips = figures["max_probability_difference"], figures["label_flips"]
    largest = f"largest probability difference {difference:.2g}"
    reasons = []
    if difference > tolerance.probability:
        reasons.append(f"allowed {tolerance.probability:g}")
    if 100 * flips / decisions > tolerance.label_flips:
        reasons.append(f"{flips} of {decisions} labels flipped, allowed {tolerance.label_flips:g} %")
    if figures["mAP_drop"] > tolerance.map:
        found, expected = figures["mAP_artifact"], figures["mAP_torch"]
        reasons.append(f"mAP {found:.2f} against {expected:.2f}, allowed fall {tolerance.map:g}")
    if figures["worst_class_drop"] > tolerance.class_ap:
        fall = figures["worst_class_drop"]
        reasons.append(f"AP of {figures['worst_class']} fell by {fall:.2f}, allowed {tolerance.class_ap:g}")
    return f"{largest}, {'; '.join(reasons)}" if reasons else None


def make_reference(model: MultiLabelModel, data: TaggedImages, trained: Sequence[str]) -> Reference:
    """Let the torch model answer pictures that it was not trained on.

    Up to ``IMAGES`` pictures, spread over the validation split, and more of the labels that have fewer than
    ``LEAST_POSITIVES`` among those.

    Args:
        model: the original, nothing merged.
        data: the run's own; without a validation split the test split is taken, then the training split.
        trained: the splits that were trained on.

    Raises:
        UsageError: a picture cannot be read, or there is none.
    """
    if not data.samples:
        raise UsageError(f"{data.root} holds no usable image to compare the artifact on")
    split = tuning_split(data, trained)
    positions = _chosen(data.targets(split))
    samples = data.split(split)
    store = ImageStore([samples[position] for position in positions], model.preprocess.size)
    targets = data.targets(split)[positions]
    return Reference(split, list(data.classes), targets, pixels_of(store), predict(model, store))


def pixels_of(store: ImageStore) -> np.ndarray:
    """All pictures of a store, ``uint8[n, 3, s, s]``."""
    return np.stack([store[index][1].numpy() for index in range(len(store))])


def _chosen(targets: np.ndarray) -> list[int]:
    """At most IMAGES rows, evenly over all (neighbors in a file are often alike), then what rare labels lack."""
    count = len(targets)
    chosen = set(np.linspace(0, count - 1, min(count, IMAGES)).round().astype(int).tolist())
    for label in range(targets.shape[1]):
        positives = np.flatnonzero(targets[:, label]).tolist()
        lacking = LEAST_POSITIVES - sum(row in chosen for row in positives)
        chosen.update([row for row in positives if row not in chosen][: max(0, lacking)])
    return sorted(chosen)


def ask(artifact: Path, pixels: np.ndarray, scratch: Path) -> np.ndarray:
    """An artifact's probabilities ``float32[n, q]``, from a process of its own.

    Args:
        artifact: a folder with manifest and model files.
        pixels: ``uint8[n, 3, s, s]``.
        scratch: a folder for arrays.

    Raises:
        MlkdcError: the artifact does not run; the message is the runtime's.
    """
    images, out = scratch / "images.npy", scratch / "probabilities.npy"
    np.save(images, pixels)
    command = [sys.executable, "-m", "mlkdc.runtime.worker", "predict", str(artifact), str(images), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise MlkdcError(f"the exported model does not run: {said[0]}")
    return np.load(out)
