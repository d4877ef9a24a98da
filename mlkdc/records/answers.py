"""parity.npz: some images of the comparison and the torch model's answers, to compare on devices without torch."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.resources import write_atomic

ANSWERS_FILE = "parity.npz"
REMEDY = "export the run again, which writes it"
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
        write_atomic(path, self._write)
        return path

    def _write(self, path: Path) -> None:
        # Given a path, numpy would put another ending behind its name.
        with path.open("wb") as stream:
            np.savez_compressed(stream, pixels=self.pixels, probabilities=self.probabilities, targets=self.targets)

    @classmethod
    def load(cls, folder: Path) -> "KnownAnswers":
        """Read the file of a run folder.

        Raises:
            UsageError: missing, damaged, or its arrays do not belong together.
        """
        path = folder / ANSWERS_FILE
        try:
            with np.load(path, allow_pickle=False) as arrays:
                known = cls(arrays["pixels"], arrays["probabilities"], arrays["targets"])
        except FileNotFoundError:
            raise UsageError(f"{path} is missing; {REMEDY}") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise UsageError(f"{path} is damaged ({error}); {REMEDY}") from None
        known._check(path)
        return known

    def _check(self, path: Path) -> None:
        for name, (dtype, axes) in _KINDS.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.ndim != axes:
                raise UsageError(
                    f"{path}: expected {name} as {np.dtype(dtype)} with {axes} axes, "
                    f"got {array.dtype} of shape {array.shape}; {REMEDY}"
                )
        rows = {len(self.pixels), len(self.probabilities), len(self.targets)}
        if len(rows) > 1 or self.probabilities.shape != self.targets.shape:
            raise UsageError(
                f"{path}: {len(self.pixels)} images, probabilities of shape {self.probabilities.shape} and targets of "
                f"shape {self.targets.shape} do not belong together; {REMEDY}"
            )
