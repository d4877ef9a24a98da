"""What a runtime must do, and the list of runtimes."""

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from mlkdc.registry import Registry
from mlkdc.runtime.manifest import Manifest


class Backend(ABC):
    """One loaded model. A leaf file per runtime; its package is imported when a model is loaded, not before.

    Args:
        folder: the artefact, already verified.
        manifest: of that folder.
        threads: for one inference; None = the runtime's own choice.

    Raises:
        UsageError: the runtime's package is missing (says what to install) or cannot read the file.
    """

    @abstractmethod
    def __init__(self, folder: Path, manifest: Manifest, threads: int | None) -> None: ...

    @abstractmethod
    def run(self, batch: np.ndarray) -> np.ndarray:
        """Probabilities ``[n, q]`` of a batch in the artefact's dtype and layout; n is 1 unless that is dynamic."""

    @staticmethod
    def cannot_run() -> str | None:
        """Why this machine can never run it (``needs an NVIDIA GPU``), or None. Imports nothing heavy."""
        return None

    def close(self) -> None:  # noqa: B027 - most runtimes free their model when the last reference goes
        """Free what the runtime holds."""


RUNTIMES: Registry[type[Backend]] = Registry("runtime", "mlkdc.runtime.backends")
