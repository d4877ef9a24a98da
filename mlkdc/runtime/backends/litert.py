"""LiteRT (TensorFlow Lite) on the CPU, with XNNPACK."""

from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.runtime.base import RUNTIMES, Backend, Signature, check_signature, import_error
from mlkdc.runtime.quiet import quiet
from mlkdc.runtime.spec import ModelSpec

#: Before the names of what a file says of itself.
METADATA = "mlkdc."


@RUNTIMES.register("litert")
class LiteRt(Backend):
    """An ``Interpreter`` with its default delegate, XNNPACK, with the requested number of threads, else one."""

    def __init__(self, folder: Path, spec: ModelSpec, threads: int | None) -> None:
        path = spec.only_file(folder, ".tflite")
        self._path = path
        self._interpreter = _load(path, threads)
        runner = self._interpreter.get_signature_runner()
        inputs, outputs = runner.get_input_details(), runner.get_output_details()
        check_signature(path, spec, _described(inputs), _described(outputs))
        self._input = inputs[spec.input.name]["index"]
        self._output = outputs[spec.output.name]["index"]

    def run(self, batch: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input, batch)
        self._interpreter.invoke()
        output: np.ndarray = self._interpreter.get_tensor(self._output)
        return output

    def metadata(self) -> dict[str, str]:
        # The interpreter gives none. What it is installed with reads it from the file.
        from ai_edge_litert import schema_py_generated as schema

        model = schema.Model.GetRootAs(self._path.read_bytes(), 0)
        found = {}
        for index in range(model.MetadataLength()):
            entry = model.Metadata(index)
            name = (entry.Name() or b"").decode(errors="replace")
            if name.startswith(METADATA):
                text = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes().decode(errors="replace")
                found[name.removeprefix(METADATA)] = text
        return found

    def close(self) -> None:
        del self._interpreter


def _load(path: Path, threads: int | None) -> Any:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise import_error("LiteRT", error, "litert-runtime") from None
    try:
        with quiet():
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"LiteRT cannot load {path}: {error}; export the run again") from error
    return interpreter


def _described(details: dict[str, Any]) -> list[Signature]:
    return [(name, tensor["dtype"].__name__, tensor["shape"].tolist()) for name, tensor in details.items()]
