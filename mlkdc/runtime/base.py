"""What a runtime must do, and the list of runtimes."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.records.manifest import Manifest
from mlkdc.registry import Registry


class Backend(ABC):
    """One loaded model. A leaf file per runtime; its package is imported when a model is loaded, not before.

    Args:
        folder: the artifact, already verified.
        manifest: of that folder.
        threads: for one inference; None = the runtime's own choice.

    Raises:
        UsageError: the runtime's package is missing (says what to install) or cannot read the file.
    """

    @abstractmethod
    def __init__(self, folder: Path, manifest: Manifest, threads: int | None) -> None: ...

    @abstractmethod
    def run(self, batch: np.ndarray) -> np.ndarray:
        """Probabilities ``[n, q]`` of a batch in the artifact's dtype and layout; n is 1 unless that is dynamic."""

    @staticmethod
    def cannot_run() -> str | None:
        """Why this machine can never run it (``needs an NVIDIA GPU``), or None. Imports nothing heavy."""
        return None

    def close(self) -> None:  # noqa: B027 - most runtimes free their model when the last reference goes
        """Free what the runtime holds."""


def check_signature(path: Path, manifest: Manifest, inputs: list[Any], outputs: list[Any]) -> None:
    """Refuse a file that takes or gives something else than the manifest says, before it is run.

    Args:
        path: of the file, for the message.
        manifest: what it should take and give.
        inputs, outputs: found in the file: ``(name, dtype, shape)`` each, with "any" for a size that is not fixed.

    Raises:
        UsageError: they differ.
    """
    batch = "any" if manifest.dynamic_batch else 1
    for role, found, record in (("input", inputs, manifest.input), ("output", outputs, manifest.output)):
        expected = (record["name"], record["dtype"], [batch, *record["shape"][1:]])
        if found != [expected]:
            raise UsageError(f"{path}: the manifest says {role} {expected}, the file has {found}; export the run again")


RUNTIMES: Registry[type[Backend]] = Registry("runtime", "mlkdc.runtime.backends")
