"""TensorRT and TensorRT-RTX, on an NVIDIA GPU."""

import functools
import importlib
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.manifest import Manifest
from mlkdc.runtime import cuda
from mlkdc.runtime.base import RUNTIMES, Backend

ENGINE = "model.engine"
# By package; both have the same interface.
LIBRARIES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
_REBUILD = "build it on this machine: mlkdc export RUN --target tensorrt"


@RUNTIMES.register("tensorrt")
class TensorRt(Backend):
    """One execution context with a stream and buffers of its own. There are no ``threads`` to set on a GPU.

    An engine is machine code: before it is read, the library, its version and the GPU are compared with those that
    the manifest says it was built for.
    """

    def __init__(self, folder: Path, manifest: Manifest, threads: int | None) -> None:
        if why := self.cannot_run():
            raise UsageError(f"{folder / ENGINE} {why} with its driver, and this machine has none")
        trt = _matching_library(folder / ENGINE, manifest.details)
        self._manifest, self._gpu = manifest, cuda.Gpu()
        try:
            self._engine = _read(trt, folder / ENGINE)
            _check_signature(trt, folder / ENGINE, self._engine, manifest)
            self._context = self._engine.create_execution_context()
            if self._context is None:
                raise MlkdcError(f"{title(trt)} cannot run {folder / ENGINE}: {log(trt).errors()}")
            self._most = _largest_batch(self._engine, manifest)
            self._addresses = {record["name"]: self._allocate(record) for record in (manifest.input, manifest.output)}
        except MlkdcError:
            self._gpu.close()
            raise

    @staticmethod
    def cannot_run() -> str | None:
        return None if cuda.available() else "needs an NVIDIA GPU"

    def _allocate(self, record: dict[str, Any]) -> int:
        size = self._most * int(np.prod(record["shape"][1:])) * np.dtype(record["dtype"]).itemsize
        address = self._gpu.allocate(size)
        self._context.set_tensor_address(record["name"], address)
        return address

    def run(self, batch: np.ndarray) -> np.ndarray:
        if len(batch) > self._most:
            raise UsageError(f"this engine takes up to {self._most} images at once, got {len(batch)}")
        given, asked = self._manifest.input["name"], self._manifest.output
        batch = np.ascontiguousarray(batch)
        result = np.empty((len(batch), *asked["shape"][1:]), dtype=asked["dtype"])
        self._gpu.use()
        self._gpu.upload(batch, self._addresses[given])
        if not (self._context.set_input_shape(given, batch.shape) and self._context.execute_async_v3(self._gpu.stream)):
            raise MlkdcError("the engine refused to run; export the run again")
        self._gpu.download(self._addresses[asked["name"]], result)
        self._gpu.wait()
        return result

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

    class Log(trt.ILogger):
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


def _matching_library(path: Path, details: dict[str, Any]) -> Any:
    """The library that built the engine, in the same version, on a GPU that it was built for."""
    package, version, built = (details.get(key) for key in ("library", "version", "compute_capability"))
    if package not in LIBRARIES or not version or not built:
        raise UsageError(f"the manifest of {path} does not say what its engine was built with; export the run again")
    name, capability = cuda.gpu()
    # 8.0+: that and any later one.
    low, high = _numbers(built.rstrip("+")), (99,) if built.endswith("+") else _numbers(built)
    if not low <= capability <= high:
        found = ".".join(map(str, capability))
        raise UsageError(
            f"{path} was built for GPUs of compute capability {built}, this one ({name}) has {found}; {_REBUILD}"
        )
    trt = load_library(package)
    if trt.__version__ != version:
        raise UsageError(f"{path} was built with {LIBRARIES[package]} {version}, here is {trt.__version__}; {_REBUILD}")
    return trt


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _read(trt: Any, path: Path) -> Any:
    log(trt).errors()  # those of before are not this engine's
    engine = trt.Runtime(log(trt)).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise UsageError(f"{title(trt)} cannot read {path}: {log(trt).errors()}; {_REBUILD}")
    return engine


def _largest_batch(engine: Any, manifest: Manifest) -> int:
    if not manifest.dynamic_batch:
        return 1
    *_, largest = engine.get_tensor_profile_shape(manifest.input["name"], 0)
    return int(largest[0])


def _check_signature(trt: Any, path: Path, engine: Any, manifest: Manifest) -> None:
    """An engine that takes or gives something else than the manifest says is refused before it is run."""
    found = []
    for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
        role = "input" if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else "output"
        dtype = np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name
        found.append((role, name, dtype, list(engine.get_tensor_shape(name))))
    batch = -1 if manifest.dynamic_batch else 1
    expected = [
        (role, record["name"], record["dtype"], [batch, *record["shape"][1:]])
        for role, record in (("input", manifest.input), ("output", manifest.output))
    ]
    if sorted(found) != sorted(expected):
        raise UsageError(f"{path}: the manifest says {expected}, the engine has {found}; export the run again")
