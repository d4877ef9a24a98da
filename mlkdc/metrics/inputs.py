"""What every metric requires of its arrays. Nothing is guessed from value ranges."""

import numpy as np

from mlkdc.errors import MlkdcError


def checked(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The targets as ``bool[n, q]`` and the probabilities as ``float64[n, q]``.

    Raises:
        ValueError: shapes differ or are not ``[n, q]`` with n, q > 0, targets other than 0 and 1, or
            probabilities outside 0..1 (logits, for instance: apply the sigmoid first).
        MlkdcError: a probability is NaN, as from a diverged or damaged model.
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities)
    if targets.ndim != 2 or targets.shape != probabilities.shape or not targets.size:
        raise ValueError(
            f"expected targets and probabilities of one shape [images, classes], not empty; "
            f"got {targets.shape} and {probabilities.shape}"
        )
    if not np.isin(targets, (0, 1)).all():
        raise ValueError("expected targets of zeros and ones only")
    if np.isnan(probabilities).any():
        images = int(np.isnan(probabilities).any(axis=1).sum())
        raise MlkdcError(f"the model gave NaN for {images} of {len(probabilities)} images; its weights are damaged")
    low, high = probabilities.min(), probabilities.max()
    if low < 0 or high > 1:
        raise ValueError(f"expected probabilities in 0..1, got {low:.4g}..{high:.4g}; apply the sigmoid to logits")
    return targets.astype(bool), probabilities.astype(np.float64)
