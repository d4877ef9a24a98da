"""TensorRT and TensorRT-RTX, on an NVIDIA GPU."""

import functools
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.runtime import cuda
from mlkdc.runtime.base import RUNTIMES, Backend, signature
from mlkdc.runtime.spec import EngineSpec, ModelSpec, TensorSpec
from mlkdc.runtime.system import version_numbers

ENGINE = "model.engine"
#: The graph that the engine was built from, which is next to it.
GRAPH = "model.onnx"
# By package; both have the same interface.
LIBRARIES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
_REBUILD = "build it on this machine: mlkdc export RUN --target tensorrt"


@RUNTIMES.register("tensorrt")
class TensorRt(Backend):
    """One execution context with a separate stream and buffers. There are no ``threads`` to set on a GPU.

    An engine is machine code: before it is read, the library, its version and the GPU are compared with those it was
    built for, as the manifest records them.
    """

    on_processor = False

    def __init__(self, folder: Path, spec: ModelSpec, threads: int | None) -> None:
        if why := self.cannot_run():
            raise UsageError(f"{folder / ENGINE} {why} with its driver, and this machine has none")
        trt = _matching_library(folder / ENGINE, spec.engine)
        self._graph, self._spec, self._gpu = folder / GRAPH, spec, cuda.Gpu()
        try:
            self._engine = _read(trt, folder / ENGINE)
            _check_signature(trt, folder / ENGINE, self._engine, spec)
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise MlkdcError(f"{title(trt)} cannot run {folder / ENGINE}: {log(trt).errors()}")
            self._most = _largest_batch(self._engine, spec)
            self._addresses = {tensor.name: self._allocate(tensor) for tensor in (spec.input, spec.output)}
        except MlkdcError:
            self._gpu.close()
            raise

    @staticmethod
    def cannot_run() -> str | None:
        if cuda.available():
            return None
        return "needs an NVIDIA GPU"

    def _allocate(self, tensor: TensorSpec) -> int:
        size = self._most * int(np.prod(tensor.shape[1:])) * np.dtype(tensor.dtype).itemsize
        address = self._gpu.allocate(size)
        self._context.set_tensor_address(tensor.name, address)
        return address

    def run(self, batch: np.ndarray) -> np.ndarray:
        if len(batch) > self._most:
            raise UsageError(f"this engine takes up to {self._most} images at once, got {len(batch)}")
        name, output = self._spec.input.name, self._spec.output
        batch = np.ascontiguousarray(batch)
        result = np.empty((len(batch), *output.shape[1:]), dtype=output.dtype)
        self._gpu.use()
        self._gpu.upload(batch, self._addresses[name])
        if not (self._context.set_input_shape(name, batch.shape) and self._context.execute_async_v3(self._gpu.stream)):
            raise MlkdcError("the engine refused to run; export the run again")
        self._gpu.download(self._addresses[output.name], result)
        self._gpu.wait()
        return result

    def metadata(self) -> dict[str, str]:
        return _said_of(self._graph)

    def close(self) -> None:
        del self._context, self._engine
        self._gpu.close()


def load_library(package: str) -> Any:
    """The module of one of ``LIBRARIES``.

    Raises:
        UsageError: it cannot be imported; says what to install.
    """
    try:
        return importlib.import_module(package)
    except (ImportError, OSError) as error:  # OSError: the package is there, libraries that it loads are not
        raise UsageError(
            f"this needs {LIBRARIES[package]}, which cannot be imported ({error}); run: pip install 'mlkdc[tensorrt]'"
        ) from None


@functools.cache
def log(trt: Any) -> Any:
    """The process's one logger of a library: it keeps the first that it was given."""

    class Log(trt.ILogger):  # type: ignore[misc]  # the package has no types
        """Keeps errors, which the library reports in no other way, and drops the rest."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._said: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self._said.append(" ".join(message.split()))

        def errors(self) -> str:
            """What was said since the last call, each line once."""
            said, self._said = dict.fromkeys(self._said), []
            return "; ".join(said) or "it does not say why"

    return Log()


def title(trt: Any) -> str:
    """The library's name and version, for messages."""
    return f"{LIBRARIES[trt.__name__]} {trt.__version__}"


def _matching_library(path: Path, built: EngineSpec | None) -> Any:
    """The library that built the engine, in the same version, on a GPU that it was built for."""
    if built is None or built.library not in LIBRARIES:
        raise UsageError(f"the manifest of {path} does not say what its engine was built with; export the run again")
    name, capability = cuda.gpu()
    lowest = version_numbers(built.compute_capability)
    highest = lowest
    if built.compute_capability.endswith("+"):  # 8.0+: that and any later one
        highest = (99,)
    if not lowest <= capability <= highest:
        actual = ".".join(map(str, capability))
        raise UsageError(
            f"{path} was built for GPUs of compute capability {built.compute_capability}, this one ({name}) has "
            f"{actual}; {_REBUILD}"
        )
    trt = load_library(built.library)
    if trt.__version__ != built.version:
        raise UsageError(
            f"{path} was built with {LIBRARIES[built.library]} {built.version}, {trt.__version__} is installed here; "
            f"{_REBUILD}"
        )
    return trt


def _read(trt: Any, path: Path) -> Any:
    log(trt).errors()  # errors from before are not this engine's
    engine = trt.Runtime(log(trt)).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise UsageError(f"{title(trt)} cannot read {path}: {log(trt).errors()}; {_REBUILD}")
    return engine


def _said_of(graph: Path) -> dict[str, str]:
    """What the engine's graph says, as an engine has no place for it; empty where the graph cannot be asked."""
    try:
        import onnx
    except ImportError:
        return {}
    if not graph.is_file():
        return {}
    try:
        model = onnx.load(graph, load_external_data=False)
    except Exception as error:  # protobuf's DecodeError, whose package has no types
        raise UsageError(f"{graph} is not an ONNX file ({error}); export the run again") from None
    return {entry.key: entry.value for entry in model.metadata_props}


def _largest_batch(engine: Any, spec: ModelSpec) -> int:
    if not spec.dynamic_batch:
        return 1
    *_, largest = engine.get_tensor_profile_shape(spec.input.name, 0)
    return int(largest[0])


def _check_signature(trt: Any, path: Path, engine: Any, spec: ModelSpec) -> None:
    """An engine that takes or gives something else than the manifest says is refused before it is run."""
    actual = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        role = "output"
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            role = "input"
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
        actual.append((role, name, dtype, list(engine.get_tensor_shape(name))))
    batch = 1
    if spec.dynamic_batch:
        batch = -1  # TensorRT's word for a size that is not fixed
    expected = [("input", *signature(spec.input, batch)), ("output", *signature(spec.output, batch))]
    if sorted(actual) != sorted(expected):
        raise UsageError(f"{path}: the manifest says {expected}, the engine has {actual}; export the run again")
