"""ONNX Runtime on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.runtime.base import RUNTIMES, Backend
from mlkdc.runtime.manifest import Manifest

PROVIDER = "CPUExecutionProvider"


@RUNTIMES.register("onnxruntime")
class OnnxRuntime(Backend):
    """An ``InferenceSession`` with one thread pool of the asked size (operators run one after another)."""

    def __init__(self, folder: Path, manifest: Manifest, threads: int | None) -> None:
        path = manifest.only_file(folder, ".onnx")
        self._session = _load(path, threads, literal=manifest.details.get("proxy", False))
        self._input, self._output = manifest.input["name"], manifest.output["name"]
        used = self._session.get_providers()
        if used[:1] != [PROVIDER]:
            raise MlkdcError(f"asked ONNX Runtime for {PROVIDER}, got {used}; reinstall onnxruntime")
        _check_signature(path, self._session, manifest)

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self._session.run([self._output], {self._input: batch})[0]

    def close(self) -> None:
        del self._session


def _load(path: Path, threads: int | None, literal: bool) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(
            f"this artefact needs ONNX Runtime, which cannot be imported ({error}); run: pip install 'mlkdc[onnx]'"
        ) from None
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
        raise UsageError(f"ONNX Runtime cannot load {path}: {error}") from error


def _check_signature(path: Path, session: Any, manifest: Manifest) -> None:
    """A graph that takes or gives something else than the manifest says is refused before it is run."""
    dtype = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}
    for role, nodes, record in (
        ("input", session.get_inputs(), manifest.input),
        ("output", session.get_outputs(), manifest.output),
    ):
        found = [(each.name, dtype.get(each.type, each.type), _shape(each)) for each in nodes]
        batch = "any" if manifest.dynamic_batch else 1
        expected = (record["name"], record["dtype"], [batch, *record["shape"][1:]])
        if found != [expected]:
            raise UsageError(
                f"{path}: the manifest says {role} {expected}, the graph has {found}; export the run again"
            )


def _shape(node: Any) -> list[int | str]:
    """A graph input's or output's shape, with "any" for a size that is not fixed."""
    return [size if isinstance(size, int) else "any" for size in node.shape]
