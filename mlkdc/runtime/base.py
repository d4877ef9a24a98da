"""What a runtime must do, and the list of runtimes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.registry import Registry
from mlkdc.runtime.spec import ModelSpec, TensorSpec

#: Name, dtype and shape of a graph's input or output; "any" stands for a size that is not fixed.
Signature = tuple[str, str, list[Any]]


class Backend(ABC):
    """One loaded model. A leaf file per runtime; its package is imported when a model is loaded, not before.

    Args:
        folder: the artifact, already verified.
        spec: of the model in that folder.
        threads: for one inference; None = the runtime's default.

    Raises:
        UsageError: the runtime's package is missing (says what to install) or cannot read the file.
    """

    on_processor: ClassVar[bool] = True
    """Whether it computes on the processor alone, so that its CPU time says whether it had a core."""

    @abstractmethod
    def __init__(self, folder: Path, spec: ModelSpec, threads: int | None) -> None: ...

    @abstractmethod
    def run(self, batch: np.ndarray) -> np.ndarray:
        """Probabilities ``[n, q]`` of a batch in the artifact's dtype and layout; n is 1 unless that is dynamic."""

    @staticmethod
    def cannot_run() -> str | None:
        """Why this machine can never run it (``needs an NVIDIA GPU``), or None. Imports nothing heavy."""
        return None

    def metadata(self) -> dict[str, str]:
        """What the file says of itself; empty where its format has no place for it, or an older version wrote it."""
        return {}

    def close(self) -> None:  # noqa: B027 - most runtimes free their model when the last reference is dropped
        """Free what the runtime holds."""


def signature(tensor: TensorSpec, batch: object = 1) -> Signature:
    """Name, dtype and shape that the manifest records, with ``batch`` as the first size."""
    return tensor.name, tensor.dtype, [batch, *tensor.shape[1:]]


def check_signature(path: Path, spec: ModelSpec, inputs: Sequence[Signature], outputs: Sequence[Signature]) -> None:
    """Refuse a file that takes or gives something else than the manifest says, before it is run.

    Args:
        path: of the file, for the message.
        spec: what it should take and give.
        inputs, outputs: as the file describes them.

    Raises:
        UsageError: they differ.
    """
    batch: object = 1
    if spec.dynamic_batch:
        batch = "any"
    for role, actual, tensor in (("input", inputs, spec.input), ("output", outputs, spec.output)):
        expected = signature(tensor, batch)
        if list(actual) != [expected]:
            raise UsageError(
                f"{path}: the manifest says {role} {expected}, the file has {list(actual)}; export the run again"
            )


def import_error(runtime: str, error: ImportError, extra: str) -> UsageError:
    """The sentence for a runtime whose package cannot be imported; ``extra`` is the pip extra that brings it."""
    return UsageError(f"this needs {runtime}, which cannot be imported ({error}); run: pip install 'mlkdc[{extra}]'")


RUNTIMES: Registry[type[Backend]] = Registry("runtime", "mlkdc.runtime.backends")
