"""Opening an artifact and predicting with it."""

from pathlib import Path

import numpy as np
from typing_extensions import Self

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.manifest import Manifest
from mlkdc.runtime.base import RUNTIMES, Backend
from mlkdc.runtime.machine import vnni

#: Images at once, for artifacts that take more than one.
BATCH = 32


class Session:
    """An artifact ready to predict; made by :func:`open_artifact`, usable as a context manager."""

    def __init__(self, manifest: Manifest, backend: Backend) -> None:
        self.manifest = manifest
        self._backend = backend

    def run(self, batch: np.ndarray) -> np.ndarray:
        """One call of the runtime, unchecked: what :mod:`mlkdc.runtime.worker` times.

        Args:
            batch: one image, or any number with a dynamic batch, in the artifact's layout and dtype.
        """
        return self._backend.run(batch)

    def predict(self, images: np.ndarray, batch_size: int = BATCH) -> np.ndarray:
        """Probabilities of any number of images, in batches if the artifact takes them, else one by one.

        Args:
            images: ``[n, 3, s, s]`` RGB in 0..255, ``uint8`` or floating point. An artifact with ``uint8``
                input takes floating-point pixels only when they are whole numbers: rounding is not silent.
            batch_size: at most so many at once, if the artifact takes more than one.

        Returns:
            ``float32[n, q]`` in 0..1.

        Raises:
            UsageError: another shape or dtype, or pixels outside 0..255, which NaN is too, or that are not whole
                numbers (``uint8``).
            MlkdcError: the runtime gave another shape than ``[n, q]``.
        """
        pixels = self._converted(images)
        step = 1
        if self.manifest.dynamic_batch:
            step = batch_size
        classes = len(self.manifest.classes)
        probabilities = np.empty((len(pixels), classes), dtype=np.float32)
        for start in range(0, len(pixels), step):
            batch = pixels[start : start + step]
            output = self.run(batch)
            expected = (len(batch), classes)
            if output.shape != expected:
                raise MlkdcError(f"{self.manifest.runtime} gave an output of shape {output.shape}, not {expected}")
            probabilities[start : start + step] = output
        return probabilities

    def _converted(self, images: np.ndarray) -> np.ndarray:
        """The images in the artifact's layout and dtype."""
        expected = (3, self.manifest.image_size, self.manifest.image_size)
        if images.ndim != 4 or images.shape[1:] != expected:
            raise UsageError(f"expected images of shape [n, {', '.join(map(str, expected))}], got {images.shape}")
        if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
            raise UsageError(f"expected uint8 or floating-point pixels in 0..255, got {images.dtype}")
        if images.dtype != np.uint8:
            _check_range(images)
        dtype = np.dtype(self.manifest.input.dtype)
        fractional = images.dtype != np.uint8 and not (images == np.floor(images)).all()
        if dtype == np.uint8 and fractional:
            raise UsageError("this artifact takes uint8 pixels: expected whole numbers in 0..255; round them")
        if self.manifest.input.layout == "NHWC":
            images = images.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images, dtype=dtype)

    def random_input(self, seed: int = 0) -> np.ndarray:
        """One image of uniform noise in 0..255 in the artifact's layout, the same for every artifact of this size."""
        size = self.manifest.image_size
        noise = np.random.default_rng(seed).integers(0, 256, (1, 3, size, size), dtype=np.uint8)
        return self._converted(noise)

    def close(self) -> None:
        """Free the runtime's model; the session cannot be used afterwards."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_range(images: np.ndarray) -> None:
    """Raise UsageError for floating-point pixels that are none: NaN, or what has been normalized already."""
    if not np.isfinite(images).all():
        raise UsageError("expected pixels in 0..255, got NaN or infinity")
    if images.size and (images.min() < 0 or images.max() > 255):
        raise UsageError(
            f"expected pixels in 0..255, got {images.min():g}..{images.max():g}; normalization is inside the model: "
            "pass pixels as they are"
        )


def open_artifact(folder: Path | str, *, threads: int | None = None, allow_failed: bool = False) -> Session:
    """Check an artifact folder completely and load it.

    Args:
        folder: holds manifest.json and the model files.
        threads: for one inference; None = the runtime's default.
        allow_failed: open it although its export failed (to compare it, or to look into it).

    Raises:
        UsageError: not an artifact, a file missing or changed (names it), a failed export, an unknown
            runtime, or the runtime's package is missing.

    Example:
        >>> import numpy as np
        >>> from mlkdc import open_artifact
        >>> with open_artifact("runs/photos/export/onnx-fp32", threads=1) as session:
        ...     probabilities = session.predict(np.zeros((1, 3, 32, 32), dtype=np.uint8))
        >>> probabilities.shape, session.manifest.classes
        ((1, 3), ('red', 'green', 'blue'))
    """
    folder = Path(folder)
    manifest = Manifest.load(folder)
    if manifest.status == "failed" and not allow_failed:
        reason = manifest.parity.reason or "no reason was recorded"
        raise UsageError(f"{folder} is a failed export ({reason}) and is not used without --allow-failed")
    if threads is not None and threads < 1:
        raise UsageError(f"expected at least 1 thread, got {threads}")
    if manifest.details.reduce_range is False and vnni() is False:
        raise UsageError(
            f"{folder} has int8 weights in the full range, whose sums overflow on this processor (it has no VNNI); "
            "export again with --reduce-range"
        )
    manifest.verify(folder)
    manifest.check_run(folder)
    backend = RUNTIMES.get(manifest.runtime)
    return Session(manifest, backend(folder, manifest, threads))
