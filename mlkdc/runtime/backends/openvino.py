"""OpenVINO on the CPU."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.records.manifest import Manifest
from mlkdc.runtime.base import RUNTIMES, Backend, check_signature

DEVICE = "CPU"


@RUNTIMES.register("openvino")
class OpenVino(Backend):
    """A compiled model and its one ``InferRequest``, which answers one call after another.

    Whatever is not quantized is computed in float32: on processors with bfloat16 or half-precision units OpenVINO
    would use those, and the answers were not compared there.
    """

    def __init__(self, folder: Path, manifest: Manifest, threads: int | None) -> None:
        path = manifest.only_file(folder, ".xml")
        self._openvino = load_openvino()
        core = self._openvino.Core()
        model = _read(core, path)
        inputs = [_describe(port, manifest.input["name"]) for port in model.inputs]
        check_signature(path, manifest, inputs, [_describe(port, manifest.output["name"]) for port in model.outputs])
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            self._compiled = core.compile_model(model, DEVICE, options)
        except RuntimeError as error:
            raise UsageError(f"OpenVINO cannot compile {path}: {reason(error)}") from error
        self._request = self._compiled.create_infer_request()

    def run(self, batch: np.ndarray) -> np.ndarray:
        # The tensor is the array itself. With set_input_tensor a call costs about half of what passing the array to
        # infer() does. What comes out belongs to the request and is overwritten by the next call: hence the copy.
        self._request.set_input_tensor(self._openvino.Tensor(batch, shared_memory=True))
        self._request.infer()
        return self._request.get_output_tensor().data.copy()

    def close(self) -> None:
        del self._request, self._compiled


def load_openvino() -> Any:
    """The ``openvino`` package.

    Its import, each conversion and NNCF report themselves to their makers over the network, unless the package that
    does so is missing: here it is, for this process.

    Raises:
        UsageError: it is not installed (says what to install).
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise UsageError(
            f"this artifact needs OpenVINO, which cannot be imported ({error}); run: pip install 'mlkdc[openvino]'"
        ) from None
    return openvino


def reason(error: BaseException) -> str:
    """What OpenVINO says is wrong: the last line, after those that tell where in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _read(core: Any, path: Path) -> Any:
    try:
        return core.read_model(path, path.with_suffix(".bin"))
    except RuntimeError as error:
        raise UsageError(f"OpenVINO cannot load {path}: {reason(error)}") from error


def _describe(port: Any, name: str) -> tuple[str, str, list[int | str]]:
    """Name, type and shape, with "any" for a size that is not fixed; of several names the one that is asked for."""
    names = port.get_names()
    shape = [size.get_length() if size.is_static else "any" for size in port.get_partial_shape()]
    return name if name in names else ", ".join(sorted(names)), str(port.get_element_type().to_dtype()), shape
