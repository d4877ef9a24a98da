"""LiteRT (TensorFlow Lite) on the CPU, with XNNPACK."""

from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.runtime.base import RUNTIMES, Backend
from mlkdc.runtime.manifest import Manifest
from mlkdc.runtime.quiet import quiet


@RUNTIMES.register("litert")
class LiteRt(Backend):
    """An ``Interpreter`` with its default delegate, XNNPACK, with as many threads as asked; one if not asked."""

    def __init__(self, folder: Path, manifest: Manifest, threads: int | None) -> None:
        path = manifest.only_file(folder, ".tflite")
        self._interpreter = _load(path, threads)
        self._input, self._output = _signature(path, self._interpreter, manifest)

    def run(self, batch: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input, batch)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)

    def close(self) -> None:
        del self._interpreter


def _load(path: Path, threads: int | None) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UsageError(
            f"this artefact needs LiteRT, which cannot be imported ({error}); run: pip install 'mlkdc[litert]'"
        ) from None
    try:
        with quiet():
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"LiteRT cannot load {path}: {error}") from error
    return interpreter


def _signature(path: Path, interpreter: Any, manifest: Manifest) -> tuple[int, int]:
    """Input and output tensor. A file that takes or gives something else than the manifest says is refused."""
    runner = interpreter.get_signature_runner()
    indices = []
    for role, details, record in (
        ("input", runner.get_input_details(), manifest.input),
        ("output", runner.get_output_details(), manifest.output),
    ):
        found = [(name, each["dtype"].__name__, each["shape"].tolist()) for name, each in details.items()]
        expected = (record["name"], record["dtype"], [1, *record["shape"][1:]])
        if found != [expected]:
            raise UsageError(f"{path}: the manifest says {role} {expected}, the file has {found}; export the run again")
        indices.append(details[record["name"]]["index"])
    return indices[0], indices[1]
