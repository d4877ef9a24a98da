"""OpenVINO on the CPU."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.runtime.base import RUNTIMES, Backend, Signature, check_signature, import_error
from mlkdc.runtime.spec import ModelSpec

DEVICE = "CPU"
#: The key in a model's rt_info under which it says what it is.
RT_INFO = "mlkdc"


@RUNTIMES.register("openvino")
class OpenVino(Backend):
    """A compiled model and its one ``InferRequest``, which answers one call after another.

    What is not quantized is computed in float32: on processors with bfloat16 or half-precision units OpenVINO
    would use those, and the answers were not compared there.
    """

    def __init__(self, folder: Path, spec: ModelSpec, threads: int | None) -> None:
        path, weights = spec.only_file(folder, ".xml"), spec.only_file(folder, ".bin")
        self._openvino = load_openvino()
        core = self._openvino.Core()
        model = _read(core, path, weights)
        inputs = [_describe(port, spec.input.name) for port in model.inputs]
        outputs = [_describe(port, spec.output.name) for port in model.outputs]
        check_signature(path, spec, inputs, outputs)
        self._metadata = _metadata(model, spec)
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            self._compiled = core.compile_model(model, DEVICE, options)
        except RuntimeError as error:
            raise UsageError(f"OpenVINO cannot compile {path}: {reason(error)}") from error
        self._request = self._compiled.create_infer_request()

    def run(self, batch: np.ndarray) -> np.ndarray:
        # The tensor is the array itself. A call with set_input_tensor costs less than passing the array to
        # infer() does. What comes out belongs to the request and is overwritten by the next call: hence the copy.
        self._request.set_input_tensor(self._openvino.Tensor(batch, shared_memory=True))
        self._request.infer()
        output: np.ndarray = self._request.get_output_tensor().data.copy()
        return output

    def metadata(self) -> dict[str, str]:
        return self._metadata

    def close(self) -> None:
        del self._request, self._compiled


def load_openvino() -> Any:
    """The ``openvino`` package.

    Its import, each conversion and NNCF send reports to their makers over the network, unless the package that does
    so is missing: it is made to be missing, for this process.

    Raises:
        UsageError: it is not installed (says what to install).
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise import_error("OpenVINO", error, "openvino-runtime") from None
    return openvino


def reason(error: BaseException) -> str:
    """What OpenVINO says is wrong: the last line, after those that name places in its source."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    return lines[-1].strip()


def _read(core: Any, path: Path, weights: Path) -> Any:
    try:
        return core.read_model(path, weights)
    except RuntimeError as error:
        raise UsageError(f"OpenVINO cannot load {path}: {reason(error)}; export the run again") from error


def _metadata(model: Any, spec: ModelSpec) -> dict[str, str]:
    found = {}
    for key in spec.metadata:
        if model.has_rt_info([RT_INFO, key]):
            found[key] = model.get_rt_info([RT_INFO, key]).astype(str)
    return found


def _describe(port: Any, expected: str) -> Signature:
    """Name, type and shape; of several names the expected one."""
    shape: list[object] = []
    for size in port.get_partial_shape():
        shape.append(size.get_length() if size.is_static else "any")
    names = port.get_names()
    name = expected
    if expected not in names:
        name = ", ".join(sorted(names))
    return name, str(port.get_element_type().to_dtype()), shape
