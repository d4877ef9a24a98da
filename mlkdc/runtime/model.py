"""A loaded model, and predicting with it. No records and no images: this runs on devices too."""

from pathlib import Path

import numpy as np

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.runtime.base import RUNTIMES, Backend
from mlkdc.runtime.metadata import check_metadata
from mlkdc.runtime.spec import ModelSpec
from mlkdc.runtime.system import vnni

#: Images at once, for models that take more than one.
BATCH = 32


class Model:
    """A model ready to predict, usable as a context manager.

    Args:
        spec: of the model.
        backend: that has loaded it.
    """

    def __init__(self, spec: ModelSpec, backend: Backend) -> None:
        self.spec = spec
        self._backend = backend

    @property
    def on_processor(self) -> bool:
        """As :attr:`mlkdc.runtime.base.Backend.on_processor`."""
        return self._backend.on_processor

    def run(self, batch: np.ndarray) -> np.ndarray:
        """One call of the runtime, unchecked: what is timed.

        Args:
            batch: one image, or any number with a dynamic batch, in the model's layout and dtype.
        """
        return self._backend.run(batch)

    def predict(self, images: np.ndarray, batch_size: int = BATCH) -> np.ndarray:
        """Probabilities of any number of images, in batches if the model takes them, else one by one.

        Args:
            images: ``[n, 3, s, s]`` RGB in 0..255, ``uint8`` or floating point. A model with ``uint8``
                input takes floating-point pixels only when they are whole numbers: rounding is not silent.
            batch_size: at most so many at once, if the model takes more than one.

        Returns:
            ``float32[n, q]`` in 0..1.

        Raises:
            UsageError: another shape or dtype, or pixels outside 0..255, which NaN is too, or that are not whole
                numbers (``uint8``).
            MlkdcError: the runtime gave another shape than ``[n, q]``.
        """
        pixels = self._converted(images)
        step = 1
        if self.spec.dynamic_batch:
            step = batch_size
        classes = self.spec.classes
        probabilities = np.empty((len(pixels), classes), dtype=np.float32)
        for start in range(0, len(pixels), step):
            batch = pixels[start : start + step]
            output = self.run(batch)
            expected = (len(batch), classes)
            if output.shape != expected:
                raise MlkdcError(f"{self.spec.runtime} gave an output of shape {output.shape}, not {expected}")
            probabilities[start : start + step] = output
        return probabilities

    def _converted(self, images: np.ndarray) -> np.ndarray:
        """The images in the model's layout and dtype."""
        expected = (3, self.spec.image_size, self.spec.image_size)
        if images.ndim != 4 or images.shape[1:] != expected:
            raise UsageError(f"expected images of shape [n, {', '.join(map(str, expected))}], got {images.shape}")
        if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
            raise UsageError(f"expected uint8 or floating-point pixels in 0..255, got {images.dtype}")
        if images.dtype != np.uint8:
            _check_range(images)
        dtype = np.dtype(self.spec.input.dtype)
        fractional = images.dtype != np.uint8 and not (images == np.floor(images)).all()
        if dtype == np.uint8 and fractional:
            raise UsageError("this artifact takes uint8 pixels: expected whole numbers in 0..255; round them")
        if self.spec.input.layout == "NHWC":
            images = images.transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images, dtype=dtype)

    def check_metadata(self, folder: Path) -> None:
        """Refuse a model file that says something else of itself than the manifest does.

        Args:
            folder: of the artifact, for the message.

        Raises:
            UsageError: names what differs.
        """
        check_metadata(folder, self.spec.metadata, self._backend.metadata())

    def random_input(self, seed: int = 0) -> np.ndarray:
        """One image of uniform noise in 0..255 in the model's layout, the same for every model of this size."""
        size = self.spec.image_size
        noise = np.random.default_rng(seed).integers(0, 256, (1, 3, size, size), dtype=np.uint8)
        return self._converted(noise)

    def close(self) -> None:
        """Free the runtime's model; it cannot be used afterwards."""
        self._backend.close()

    def __enter__(self) -> "Model":
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


def load_backend(folder: Path, spec: ModelSpec, threads: int | None) -> Backend:
    """Load the model files of a folder, which are complete.

    Args:
        threads: for one inference; None = the runtime's default.

    Raises:
        UsageError: an unknown runtime, its package is missing, it cannot read the file, or int8 weights that this
            processor would overflow.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"expected at least 1 thread, got {threads}")
    if spec.full_range and vnni() is False:
        raise UsageError(
            f"{folder} has int8 weights in the full range, whose sums overflow on this processor (it has no VNNI); "
            "export again with --reduce-range"
        )
    backend = RUNTIMES.get(spec.runtime)
    return backend(folder, spec, threads)
