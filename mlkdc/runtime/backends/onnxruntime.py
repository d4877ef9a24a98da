"""ONNX Runtime on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.runtime.base import RUNTIMES, Backend, Signature, check_signature, import_error
from mlkdc.runtime.spec import ModelSpec

PROVIDER = "CPUExecutionProvider"
DTYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}


@RUNTIMES.register("onnxruntime")
class OnnxRuntime(Backend):
    """An ``InferenceSession`` with one thread pool of the requested size (operators run one after another)."""

    def __init__(self, folder: Path, spec: ModelSpec, threads: int | None) -> None:
        path = spec.only_file(folder, ".onnx")
        self._session = _load(path, threads, literal=spec.literal)
        self._input, self._output = spec.input.name, spec.output.name
        used = self._session.get_providers()
        if used[:1] != [PROVIDER]:
            raise MlkdcError(f"asked ONNX Runtime for {PROVIDER}, got {used}; reinstall onnxruntime")
        inputs = [_describe(node) for node in self._session.get_inputs()]
        outputs = [_describe(node) for node in self._session.get_outputs()]
        check_signature(path, spec, inputs, outputs)

    def run(self, batch: np.ndarray) -> np.ndarray:
        outputs: list[np.ndarray] = self._session.run([self._output], {self._input: batch})
        return outputs[0]

    def metadata(self) -> dict[str, str]:
        said: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return said

    def close(self) -> None:
        del self._session


def _load(path: Path, threads: int | None, literal: bool) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise import_error("ONNX Runtime", error, "onnx-runtime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if literal:
        # Standing in for another runtime: the graph is compared, not what ONNX Runtime makes of it. On a CPU without
        # VNNI its kernels for signed activations were seen to be much farther from the graph than that from the model.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[PROVIDER])
    except Exception as error:  # its exception types share no base class but this one
        raise UsageError(f"ONNX Runtime cannot load {path}: {error}; export the run again") from error


def _describe(node: Any) -> Signature:
    shape: list[object] = []
    for size in node.shape:
        # A size that is not fixed has a name instead of a number.
        shape.append(size if isinstance(size, int) else "any")
    return node.name, DTYPES.get(node.type, node.type), shape
