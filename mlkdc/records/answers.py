"""parity.npz and calibration.npz: some images of a run, for devices without torch and exports without the data."""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.records.run import ANSWERS_FILE as ANSWERS_FILE
from mlkdc.records.run import CALIBRATION_FILE as CALIBRATION_FILE
from mlkdc.resources import write_atomic

REMEDY = (
    "delete it if it is there, and export the run where its data is, which writes it unless export.keep_images in the "
    "run's recipe.yaml is 0"
)
#: Only a training writes its images.
CALIBRATION_REMEDY = "copy the complete run folder again, or say where the run's data is: --data PATH"
_KINDS = {"pixels": (np.uint8, 4), "probabilities": (np.float32, 2), "targets": (np.uint8, 2)}


@dataclass(frozen=True)
class KnownAnswers:
    """``n`` images that were not trained on, and what the torch model answers.

    Args:
        pixels: ``uint8[n, 3, s, s]`` RGB in 0..255.
        probabilities: ``float32[n, q]`` of the torch model, in the order of the run's classes.
        targets: ``uint8[n, q]``: which labels each image has.
    """

    pixels: np.ndarray
    probabilities: np.ndarray
    targets: np.ndarray

    def save(self, folder: Path) -> Path:
        """Write the file into a run folder, completely or not at all, and return its path.

        Raises:
            MlkdcError: the disk is full or not writable.
        """
        path = folder / ANSWERS_FILE
        _save(path, pixels=self.pixels, probabilities=self.probabilities, targets=self.targets)
        return path

    @classmethod
    def load(cls, folder: Path) -> "KnownAnswers":
        """Read the file of a run folder.

        Raises:
            UsageError: missing, damaged, or its arrays do not belong together.
        """
        path = folder / ANSWERS_FILE
        known = cls(*_load(path, ("pixels", "probabilities", "targets")))
        known._check(path)
        return known

    def is_of(self, image_size: int, classes: int) -> bool:
        """Whether they can be a model's of that image size and number of classes."""
        return (self.pixels.shape[1:], self.probabilities.shape[1]) == ((3, image_size, image_size), classes)

    def _check(self, path: Path) -> None:
        rows = {len(self.pixels), len(self.probabilities), len(self.targets)}
        if len(rows) > 1 or self.probabilities.shape != self.targets.shape:
            raise UsageError(
                f"{path}: {len(self.pixels)} images, probabilities of shape {self.probabilities.shape} and targets of "
                f"shape {self.targets.shape} do not belong together; {REMEDY}"
            )


def save_calibration(folder: Path, pixels: np.ndarray) -> Path:
    """Write training images, ``uint8[n, 3, s, s]``, into a run folder; returns the file. Raises as the above."""
    path = folder / CALIBRATION_FILE
    _save(path, pixels=pixels)
    return path


def load_calibration(folder: Path) -> np.ndarray:
    """The training images that a run folder keeps, ``uint8[n, 3, s, s]``.

    Raises:
        UsageError: missing, damaged, or without an image.
    """
    path = folder / CALIBRATION_FILE
    (pixels,) = _load(path, ("pixels",), CALIBRATION_REMEDY)
    if not len(pixels):
        raise UsageError(f"{path} holds no image; {CALIBRATION_REMEDY}")
    return pixels


def _save(path: Path, **arrays: np.ndarray) -> None:
    def write(temporary: Path) -> None:
        # Given a path, numpy would put another ending behind its name.
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]

    write_atomic(path, write)


def _load(path: Path, names: Sequence[str], remedy: str = REMEDY) -> list[np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [file[name] for name in names]
    except FileNotFoundError:
        raise UsageError(f"{path} is missing; {remedy}") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        why = str(error)
        if "pickle" in why:  # what numpy takes any other file for
            why = "no archive of arrays"
        raise UsageError(f"{path} is damaged ({why}); {remedy}") from None
    for name, array in zip(names, arrays, strict=True):
        dtype, axes = _KINDS[name]
        if array.dtype != dtype or array.ndim != axes:
            raise UsageError(
                f"{path}: expected {name} as {np.dtype(dtype)} with {axes} axes, "
                f"got {array.dtype} of shape {array.shape}; {remedy}"
            )
    return arrays
