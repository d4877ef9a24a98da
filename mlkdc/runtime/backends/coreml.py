"""Core ML, on macOS."""

import platform
import warnings
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.runtime.base import RUNTIMES, Backend, Signature, import_error
from mlkdc.runtime.base import signature as recorded
from mlkdc.runtime.spec import ModelSpec

SUFFIX = ".mlpackage"


@RUNTIMES.register("coreml")
class CoreMl(Backend):
    """A package on whatever Core ML finds best: Neural Engine, GPU or CPU. It offers no number of ``threads``."""

    on_processor = False

    def __init__(self, folder: Path, spec: ModelSpec, threads: int | None) -> None:
        if why := self.cannot_run():
            raise UsageError(f"{folder} {why}, this is {platform.system()}; there, or on iOS, it runs")
        path = folder / _package(folder, spec)
        self._model = _load(path)
        self._input, self._output = spec.input.name, spec.output.name
        expected = [recorded(spec.input), recorded(spec.output)]
        actual = signature(self._model.get_spec())
        if actual != expected:
            raise UsageError(f"{path}: the manifest says {expected}, the model has {actual}; export the run again")

    @staticmethod
    def cannot_run() -> str | None:
        if platform.system() == "Darwin":
            return None
        return "needs macOS"

    def run(self, batch: np.ndarray) -> np.ndarray:
        outputs: dict[str, np.ndarray] = self._model.predict({self._input: batch})
        return outputs[self._output]

    def metadata(self) -> dict[str, str]:
        return dict(self._model.user_defined_metadata)

    def close(self) -> None:
        del self._model


def signature(spec: Any) -> list[Signature]:
    """(name, dtype, shape) of the inputs and then the outputs of a ``Model`` message."""
    signatures: list[Signature] = []
    for value in (*spec.description.input, *spec.description.output):
        array = value.type.multiArrayType
        kind = "no array"
        if value.type.HasField("multiArrayType"):
            kind = array.ArrayDataType.Name(array.dataType).lower()
        signatures.append((value.name, kind, list(array.shape)))
    return signatures


def _package(folder: Path, spec: ModelSpec) -> str:
    names = {PurePosixPath(name).parts[0] for name in spec.files}
    packages = sorted(name for name in names if name.endswith(SUFFIX))
    if len(packages) != 1:
        raise UsageError(f"{folder}: expected one {SUFFIX} in the manifest, got {', '.join(packages) or 'none'}")
    return packages[0]


def _load(path: Path) -> Any:
    try:
        import coremltools
    except ImportError as error:
        raise import_error("coremltools", error, "coreml-runtime") from None
    try:
        with warnings.catch_warnings():
            # A model that cannot be compiled is only a warning when it is loaded, and an error when it is run.
            warnings.simplefilter("error", RuntimeWarning)
            return coremltools.models.MLModel(str(path))
    except Exception as error:  # its exception types share no base class but this one
        raise UsageError(f"Core ML cannot load {path}: {error}") from error
