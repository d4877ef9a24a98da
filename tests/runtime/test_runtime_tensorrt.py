"""What is around an engine: the driver's calls and the checks before it is read, with a fake driver and library.

The driver is a shared library in C, so that names, argument types and 64-bit addresses are real; the library's engine
is the known mathematics of the other runtimes' tests, read from and written to that driver's memory.
"""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.manifest import Engine, Manifest, RuntimeDetails, describe_files
from mlkdc.runtime import cuda, open_artifact
from mlkdc.runtime.backends import tensorrt
from mlkdc.runtime.session import spec_of

VERSION = "1.7.1.116"
ENGINE = {"library": "tensorrt_rtx", "version": VERSION, "compute_capability": "8.0+", "gpu": None, "batch": (1, 8, 32)}


@pytest.fixture(scope="session")
def fake_driver(tmp_path_factory):
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    path = tmp_path_factory.mktemp("cuda") / "libcuda.so"
    source = Path(__file__).with_name("fake_cuda.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-Wall", "-Werror", "-o", path, source], check=True)
    return path


@pytest.fixture
def gpu(fake_driver, monkeypatch):
    """One GPU of compute capability 8.9."""
    monkeypatch.setattr(cuda, "LIBRARY", str(fake_driver))
    return ctypes.CDLL(str(fake_driver))


class FakeEngine:
    """Per channel: sigmoid(mean over the image / 255 - 0.5), at the addresses it was given."""

    def __init__(self, dtype, largest, expected):
        self.dtype, self.largest, self.expected = dtype, largest, expected
        self.num_io_tensors = 2
        self.addresses, self.shape = {}, (1, 3, 8, 8)

    def get_tensor_name(self, index):
        return ("probabilities", "image")[index]

    def get_tensor_mode(self, name):
        return {"image": "in", "probabilities": "out"}[name]

    def get_tensor_dtype(self, name):
        return self.dtype if name == "image" else "float32"

    def get_tensor_shape(self, name):
        batch = -1 if self.largest > 1 else 1
        return (batch, 3, 8, 8) if name == "image" else (batch, 3)

    def get_tensor_profile_shape(self, name, index):
        return [(size, 3, 8, 8) for size in (1, 8, self.largest)]

    def create_execution_context(self):
        return self

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def set_input_shape(self, name, shape):
        self.shape = shape
        return shape[0] <= self.largest

    def execute_async_v3(self, stream):
        assert stream
        given = self._array("image", self.shape, self.dtype)
        self._array("probabilities", (self.shape[0], 3), "float32")[:] = self.expected(given)
        return True

    def _array(self, name, shape, dtype):
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_char * count).from_address(self.addresses[name])
        return np.frombuffer(memory, dtype=dtype).reshape(shape)


@pytest.fixture
def library(monkeypatch, expected):
    """A TensorRT-RTX that reads ``dtype:largest`` as an engine; it keeps what it was asked to read."""
    module = ModuleType("tensorrt_rtx")
    module.__version__ = VERSION
    module.ILogger = type("ILogger", (), {"ERROR": 1})
    module.TensorIOMode = SimpleNamespace(INPUT="in")
    module.nptype = np.dtype
    module.read = []

    class Runtime:
        def __init__(self, logger):
            self.logger = logger

        def deserialize_cuda_engine(self, data):
            module.read.append(data)
            dtype, _, largest = data.decode().partition(":")
            if not largest:
                self.logger.log(2, "a warning")
                self.logger.log(1, "magic tag\n  does not match")
                return None
            return FakeEngine(dtype, int(largest), expected)

    module.Runtime = Runtime
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    return module


@pytest.fixture
def make_engine(make_artifact):
    """An artifact whose engine is the given text."""

    def make(text="float32:1", engine=ENGINE, **values):
        details = RuntimeDetails(engine=engine and Engine(**engine))
        folder = make_artifact(target="tensorrt", runtime="tensorrt", details=details, **values)
        (folder / "model.engine").write_text(text)
        files = describe_files(folder, ["model.engine", "model.onnx"])
        Manifest.load(folder).model_copy(update={"files": files}).save(folder)
        return folder

    return make


def test_a_machine_without_a_gpu_says_so(make_engine, monkeypatch, fake_driver):
    monkeypatch.setattr(cuda, "LIBRARY", "libcuda-that-is-not-there.so")
    assert tensorrt.TensorRt.cannot_run() == "needs an NVIDIA GPU"
    with pytest.raises(UsageError, match=r"model\.engine needs an NVIDIA GPU"):
        open_artifact(make_engine())
    monkeypatch.setattr(cuda, "LIBRARY", str(fake_driver))
    assert tensorrt.TensorRt.cannot_run() is None
    monkeypatch.setenv("FAKE_CUDA_GPUS", "0")
    assert tensorrt.TensorRt.cannot_run() == "needs an NVIDIA GPU"
    monkeypatch.setenv("FAKE_CUDA_GPUS", "1")
    monkeypatch.setenv("FAKE_CUDA_INIT", "100")
    assert tensorrt.TensorRt.cannot_run() == "needs an NVIDIA GPU"
    with pytest.raises(MlkdcError, match="cuInit says CUDA_ERROR_NO_DEVICE"):
        cuda.gpu()


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("largest", [1, 32])
def test_images_go_to_the_engine_and_answers_come_back(make_engine, library, gpu, images, expected, dtype, largest):
    folder = make_engine(f"{dtype}:{largest}", dtype=dtype, dynamic=largest > 1)
    assert cuda.gpu() == ("Fake 4000", (8, 9))
    before = gpu.live_allocations()
    many = np.concatenate([images] * 6)  # more than one batch
    with open_artifact(folder) as session:
        np.testing.assert_allclose(session.predict(many), expected(many), atol=1e-6)
        assert gpu.live_allocations() == before + 3
        with pytest.raises(UsageError, match=f"up to {largest} images at once, got {largest + 1}"):
            session.run(np.zeros((largest + 1, 3, 8, 8), dtype=dtype))
    assert gpu.live_allocations() == before


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({"compute_capability": "8.7"}, r"capability 8\.7, this one \(Fake 4000\) has 8\.9; build it on this machine"),
        ({"compute_capability": "12.0+"}, r"capability 12\.0\+, this one"),
        (
            {"version": "1.6.0.1"},
            r"built with TensorRT-RTX 1\.6\.0\.1, 1\.7\.1\.116 is installed here; build it on this machine",
        ),
        ({"library": "tensorrt"}, r"needs TensorRT, which cannot be imported .* pip install 'mlkdc\[tensorrt\]'"),
        ({"library": "tensorboard"}, "does not say what its engine was built with"),
        (None, "does not say what its engine was built with"),
    ],
)
def test_an_engine_of_another_gpu_or_version_is_not_even_read(make_engine, library, gpu, monkeypatch, details, message):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(UsageError, match=message):
        open_artifact(make_engine(engine=details and ENGINE | details))
    assert not library.read


@pytest.mark.parametrize("capability", ["8.9", "8.0+", "8.9+"])
def test_an_engine_of_this_gpu_is_read(make_engine, library, gpu, capability):
    open_artifact(make_engine(engine=ENGINE | {"compute_capability": capability})).close()
    assert library.read == [b"float32:1"]


def test_a_later_gpu_has_a_larger_number(make_engine, library, gpu, monkeypatch):
    monkeypatch.setenv("FAKE_CUDA_MAJOR", "12")
    monkeypatch.setenv("FAKE_CUDA_MINOR", "0")
    open_artifact(make_engine()).close()
    with pytest.raises(UsageError, match=r"has 12\.0"):
        open_artifact(make_engine(engine=ENGINE | {"compute_capability": "8.9"}))


def test_a_damaged_engine_is_reported_in_the_librarys_words(make_engine, library, gpu):
    before = gpu.live_allocations()
    with pytest.raises(UsageError, match=r"1\.116 cannot read .*model\.engine: magic tag does not match; build it"):
        open_artifact(make_engine("no engine"))
    assert gpu.live_allocations() == before


def test_another_signature_is_refused(make_engine, library, gpu):
    with pytest.raises(UsageError, match=r"the manifest says .*uint8.*the engine has .*float32"):
        open_artifact(make_engine("float32:1", dtype="uint8"))
    with pytest.raises(UsageError, match=r"the manifest says .*-1, 3, 8, 8.*the engine has .*1, 3, 8, 8"):
        open_artifact(make_engine("float32:1", dynamic=True))


def test_the_drivers_errors_are_named(make_engine, library, gpu, monkeypatch):
    before = gpu.live_allocations()
    monkeypatch.setenv("FAKE_CUDA_MEMORY", "100")
    with pytest.raises(MlkdcError, match="cuMemAlloc_v2 says CUDA_ERROR_OUT_OF_MEMORY"):
        open_artifact(make_engine())
    assert gpu.live_allocations() == before


def test_the_graph_next_to_an_engine_says_what_it_is(make_engine, library, gpu, monkeypatch):
    onnx = pytest.importorskip("onnx")
    folder = make_engine()
    graph, manifest = folder / "model.onnx", Manifest.load(folder)
    model = onnx.load(graph)
    onnx.helper.set_model_props(model, spec_of(manifest).metadata)

    def written(content, **changes):
        graph.write_bytes(content)
        files = describe_files(folder, list(manifest.files))
        manifest.model_copy(update={"files": files, **changes}).save(folder)

    written(model.SerializeToString())
    open_artifact(folder).close()
    written(model.SerializeToString(), classes=manifest.classes[::-1])
    before = gpu.live_allocations()
    with pytest.raises(UsageError, match="the manifest is not that of the model file: entry 1 of classes is"):
        open_artifact(folder)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "onnx", None)
        open_artifact(folder).close()  # nothing can read the graph
    written(b"no graph")
    with pytest.raises(UsageError, match=r"model\.onnx is not an ONNX file .*; export the run again"):
        open_artifact(folder)
    assert gpu.live_allocations() == before
