"""The torch model's answers to real images, with which an artifact is compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlkdc.data.runs import tuning_split
from mlkdc.errors import UsageError
from mlkdc.models import MultiLabelModel
from mlkdc.spread import spread
from mlkdc.train.input.store import images_for, pixels_of
from mlkdc.train.predict import predict
from mlkdc.types import TaggedImages

IMAGES = 1024
# Of so many positives one can go from the top of the ranking to its end and the AP loses about a tenth. With fewer, a
# single image decides whether an export passes.
LEAST_POSITIVES = 10


@dataclass(frozen=True)
class Reference:
    """The torch model's answers to ``n`` images.

    Args:
        split: where the images are from.
        classes: names of the ``q`` labels.
        targets: ``uint8[n, q]``.
        pixels: ``uint8[n, 3, s, s]``.
        probabilities: ``float32[n, q]`` of the torch model.
        files: the image files, in this order; none where they are not there.
        kept: whether these are the few images that the run folder keeps.
    """

    split: str
    classes: tuple[str, ...]
    targets: np.ndarray
    pixels: np.ndarray
    probabilities: np.ndarray
    files: tuple[Path, ...] = ()
    kept: bool = False


def make_reference(model: MultiLabelModel, data: TaggedImages, trained: Sequence[str]) -> Reference:
    """Let the torch model answer images that it was not trained on.

    Up to ``IMAGES`` images, spread over the validation split, and more of the labels that have fewer than
    ``LEAST_POSITIVES`` among those.

    Args:
        model: the original, nothing merged.
        data: the run's; without a validation split the test split is taken, then the training split.
        trained: the splits that were trained on.

    Raises:
        UsageError: an image cannot be read, or there is none.
    """
    if not data.samples:
        raise UsageError(f"{data.root} holds no usable image to compare the artifact on")
    split = tuning_split(data, trained)
    targets, samples = data.targets(split), data.split(split)
    rows = _chosen_rows(targets)
    chosen = [samples[row] for row in rows]
    store = images_for(model.preprocess, chosen)
    files = tuple(sample.image for sample in chosen)
    return Reference(split, data.classes, targets[rows], pixels_of(store), predict(model, store), files)


def _chosen_rows(targets: np.ndarray) -> list[int]:
    """At most IMAGES rows, evenly over all (neighbors in a file are often alike), then more of the rare labels."""
    count = len(targets)
    chosen = set(spread(count, IMAGES))
    for label in range(targets.shape[1]):
        positives = set(np.flatnonzero(targets[:, label]).tolist())
        missing = LEAST_POSITIVES - len(positives & chosen)
        if missing > 0:
            chosen.update(sorted(positives - chosen)[:missing])
    return sorted(chosen)
