"""Is the artefact the model? Both answer the same real pictures, the artefact in a process of its own."""

import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.data.store import ImageStore
from mlkdc.engine.predict import predict
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.export.targets import Tolerance
from mlkdc.metrics import average_precision
from mlkdc.models import MultiLabelModel
from mlkdc.types import TaggedImages

IMAGES = 256
# Two float32 programs round differently. Where both answers are this close, a decision on the other side of a
# threshold, or another order of pictures with equal answers, says nothing about the export.
ROUNDING = 1e-4


@dataclass(frozen=True)
class Answers:
    """Both models' answers to the same ``n`` pictures.

    Args:
        split: where the pictures are from.
        targets: ``uint8[n, q]``.
        torch: probabilities ``float32[n, q]`` of the torch model.
        artefact: probabilities ``float32[n, q]`` of the exported one.
    """

    split: str
    targets: np.ndarray
    torch: np.ndarray
    artefact: np.ndarray


def compare(answers: Answers, thresholds: np.ndarray, tolerance: Tolerance) -> dict[str, Any]:
    """The ``parity`` entry of a manifest, with ``passed`` and, where that is false, the ``reason``.

    Differences of up to ``ROUNDING`` (or the tolerated probability difference, where that is smaller) can flip a
    label at its threshold, and reorder pictures that a model hardly tells apart, which moves its mAP. Both are
    recorded, apart from what larger differences do: only the latter fails an export.

    Args:
        answers: of both models.
        thresholds: ``float[q]``; a label is given when its probability is at least this.
        tolerance: of the target and precision.
    """
    torch, artefact = answers.torch.astype(np.float64), answers.artefact.astype(np.float64)
    figures: dict[str, Any] = {
        "images": len(torch),
        "split": answers.split,
        "mAP_torch": _mean_ap(answers.targets, torch),
        "tolerance": tolerance.model_dump(),
    }
    if not np.isfinite(artefact).all():
        unknown = dict.fromkeys(("max_probability_difference", "label_flips", "mAP_artefact", "mAP_difference"))
        return {**figures, **unknown, "passed": False, "reason": "the exported model gives NaN or infinity"}
    difference = np.abs(torch - artefact)
    rounded = np.where(difference <= min(ROUNDING, tolerance.probability), torch, artefact)
    decided = torch >= thresholds
    flips = int((decided != (rounded >= thresholds)).sum())
    means = [_mean_ap(answers.targets, each) for each in (artefact, rounded)]
    figures |= {
        "max_probability_difference": float(difference.max()),
        "label_flips": flips,
        "label_flips_by_rounding": int((decided != (artefact >= thresholds)).sum()) - flips,
        "mAP_artefact": means[0],
        "mAP_difference": abs(figures["mAP_torch"] - means[0]),
        "mAP_difference_beyond_rounding": abs(figures["mAP_torch"] - means[1]),
    }
    reason = _breach(figures, torch.size, tolerance)
    return {**figures, "passed": reason is None, "reason": reason}


def _mean_ap(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """In per cent; 0 where no picture has a label."""
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
    if figures["mAP_difference_beyond_rounding"] > tolerance.map:
        figure, expected = figures["mAP_artefact"], figures["mAP_torch"]
        reasons.append(f"mAP {figure:.2f} against {expected:.2f}, allowed difference {tolerance.map:g}")
    return f"{largest}, {'; '.join(reasons)}" if reasons else None


def ask_both(
    artefact: Path, model: MultiLabelModel, data: TaggedImages, leave_out: Collection[str], scratch: Path
) -> Answers:
    """Let the torch model and the artefact answer up to ``IMAGES`` pictures, spread over the validation split.

    Args:
        artefact: a folder with manifest and model files.
        model: the original, nothing merged.
        data: the run's own; without a validation split the test split is taken, then the training split.
        leave_out: image files known to be bad.
        scratch: a folder for arrays.

    Raises:
        UsageError: a picture cannot be read, or there is none.
        MlkdcError: the artefact does not run; the message is the runtime's.
    """
    split = next((name for name in ("val", "test", "train") if name in data.splits), None)
    samples = data.split(split) if split else ()
    kept = [index for index, sample in enumerate(samples) if str(sample.image) not in leave_out]
    if not split or not kept:
        raise UsageError(f"{data.root} holds no usable image to compare the artefact on")
    chosen = [kept[position] for position in _spread(len(kept), IMAGES)]
    store = ImageStore([samples[index] for index in chosen], model.preprocess.size)
    pixels = np.stack([store[index][1].numpy() for index in range(len(store))])
    return Answers(split, data.targets(split)[chosen], predict(model, store), _run(artefact, pixels, scratch))


def _spread(length: int, most: int) -> list[int]:
    """At most ``most`` positions, evenly over the length: neighbours in a file are often alike."""
    return np.linspace(0, length - 1, min(length, most)).round().astype(int).tolist()


def _run(artefact: Path, pixels: np.ndarray, scratch: Path) -> np.ndarray:
    images, out = scratch / "images.npy", scratch / "probabilities.npy"
    np.save(images, pixels)
    command = [sys.executable, "-m", "mlkdc.runtime.worker", "predict", str(artefact), str(images), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise MlkdcError(f"the exported model does not run: {said[0]}")
    return np.load(out)
