"""Predicting for image files: the only part of a runtime that decodes images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlkdc.images import load_square
from mlkdc.runtime.model import BATCH
from mlkdc.runtime.session import Session


def predict_files(session: Session, paths: Sequence[Path]) -> np.ndarray:
    """Probabilities of image files, decoded and resized as in training: ``float32[len(paths), q]``.

    Raises:
        UsageError: an image is missing, unreadable or truncated; names it.
    """
    size, fit = session.manifest.image_size, session.manifest.preprocess.fit
    probabilities = np.empty((len(paths), len(session.manifest.classes)), dtype=np.float32)
    for start in range(0, len(paths), BATCH):
        squares = [load_square(path, size, fit) for path in paths[start : start + BATCH]]
        batch = np.stack(squares).transpose(0, 3, 1, 2)
        probabilities[start : start + BATCH] = session.predict(batch)
    return probabilities
