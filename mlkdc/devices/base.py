"""What a device must do for models to be measured on it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from typing_extensions import Self

from mlkdc.errors import MlkdcError
from mlkdc.records.bench import DeviceInfo, PhotoTiming, Turn
from mlkdc.records.manifest import Manifest


class DeviceLost(MlkdcError):
    """The device could not be reached, or no longer answers; what was measured on it until then is kept."""


@dataclass(frozen=True)
class Subject:
    """An artifact that is to be measured.

    Args:
        folder: on this machine.
        manifest: of that folder, whose files were checked.
    """

    folder: Path
    manifest: Manifest


@dataclass(frozen=True)
class Load:
    """What one turn does.

    Args:
        threads: for one inference.
        least_runs, least_seconds: timed calls after the warm-up, and how long they last at least.
        cool_to: degrees Celsius to wait for first; None = do not wait.
    """

    threads: int
    least_runs: int = 200
    least_seconds: float = 3.0
    cool_to: float | None = None


class Device(ABC):
    """A machine, or a page in a browser, that runs artifacts. Used as a context manager: entering it connects."""

    name: str
    """As the user names it: ``local``, ``ssh://pi@kitchen``."""

    start_celsius: float | None = None
    """How warm it was when it was opened, or claimed if that came later; None where it does not say."""

    @abstractmethod
    def open(self) -> DeviceInfo:
        """Connect, and say what it is.

        Raises:
            UsageError: it is not set up: no Python, an unknown host key; says what to do.
            DeviceLost: it cannot be reached.
        """

    def claim(self) -> bool:
        """Whether it is now kept for this measurement, until it is closed; where it knows of no others, it is."""
        return True

    @abstractmethod
    def turn(self, subject: Subject, load: Load) -> Turn:
        """Time one artifact in a fresh process. What it needs is put there first, once.

        Raises:
            MlkdcError: this artifact cannot run there (its runtime is missing); others may.
            DeviceLost: the device is gone.
        """

    @abstractmethod
    def answers(self, subject: Subject, pixels: np.ndarray) -> np.ndarray:
        """Probabilities ``float32[n, q]`` of images ``uint8[n, 3, s, s]`` there. Raises as :meth:`turn`."""

    def photos(self, subject: Subject, files: Sequence[Path], threads: int) -> PhotoTiming:
        """Time photos there from their files to probabilities. Raises as :meth:`turn`."""
        raise MlkdcError(f"{self.name} is not given photos' files: what measures there takes pixels")

    def provider(self, subject: Subject) -> str:
        """What runs an artifact there."""
        return subject.manifest.runtime

    @abstractmethod
    def close(self) -> None:
        """Leave the device as it was found; does nothing where it is closed or gone already."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
