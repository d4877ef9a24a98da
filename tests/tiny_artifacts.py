"""Artifacts with known mathematics, of which every pixel counts: a wrong layout or dtype changes the answers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from samples import make_manifest

from mlkdc.devices.base import Subject
from mlkdc.records.manifest import InputSpec, Manifest, describe_files

SIZE = 8
CLASSES = 3


def weights() -> np.ndarray:
    """``float32[3 * SIZE * SIZE, CLASSES]`` for channels-first pixels in 0..255; logits are within a few units."""
    return (np.random.default_rng(0).normal(size=(3 * SIZE * SIZE, CLASSES)) / 1000).astype(np.float32)


def noise(count: int) -> np.ndarray:
    """``uint8[count, 3, SIZE, SIZE]``"""
    return np.random.default_rng(1).integers(0, 256, (count, 3, SIZE, SIZE), dtype=np.uint8)


def expected(pixels: np.ndarray) -> np.ndarray:
    """What the artifacts answer, by numpy, in float64."""
    logits = pixels.reshape(len(pixels), -1).astype(np.float64) @ weights().astype(np.float64)
    return 1 / (1 + np.exp(-logits))


def spec(layout: str, dtype: str) -> InputSpec:
    shape = (1, 3, SIZE, SIZE) if layout == "NCHW" else (1, SIZE, SIZE, 3)
    return InputSpec(name="image", shape=shape, layout=layout, dtype=dtype)


def write_onnx(path: Path, inputs: InputSpec, dynamic: bool = False) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    batch = "batch" if dynamic else 1
    order = [0, 1, 2, 3] if inputs.layout == "NCHW" else [0, 3, 1, 2]
    nodes = [
        helper.make_node("Cast", ["image"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["number"], ["planes"], perm=order),
        helper.make_node("Flatten", ["planes"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
    ]
    kind = TensorProto.UINT8 if inputs.dtype == "uint8" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", kind, [batch, *inputs.shape[1:]])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, CLASSES])],
        [numpy_helper.from_array(weights(), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def onnx_artifact(folder: Path, layout: str = "NCHW", dtype: str = "float32") -> Subject:
    inputs = spec(layout, dtype)
    folder.mkdir(parents=True)
    write_onnx(folder / "model.onnx", inputs)
    return saved(folder, make_manifest(folder, ["model.onnx"], input=inputs))


def litert_artifact(folder: Path, dtype: str = "float32") -> Subject:
    litert_torch = pytest.importorskip("litert_torch")
    import torch

    class Tiny(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            flat = image.to(torch.float32).permute(0, 3, 1, 2).reshape(1, -1)
            return {"probabilities": torch.sigmoid(flat @ torch.from_numpy(weights()))}

    inputs = spec("NHWC", dtype)
    folder.mkdir(parents=True)
    image = torch.zeros(inputs.shape, dtype=getattr(torch, dtype))
    model = litert_torch.convert(Tiny().eval(), sample_kwargs={"image": image})
    (folder / "model.tflite").write_bytes(model.model_content())
    manifest = make_manifest(folder, ["model.tflite"], input=inputs, target="litert", runtime="litert")
    return saved(folder, manifest)


def broken_artifact(folder: Path) -> Subject:
    """An ONNX file that no runtime reads, with the right checksum."""
    subject = onnx_artifact(folder)
    (folder / "model.onnx").write_bytes(b"not a model")
    files = describe_files(folder, ["model.onnx"])
    return saved(folder, subject.manifest.model_copy(update={"files": files}))


def saved(folder: Path, manifest: Manifest) -> Subject:
    manifest.save(folder)
    return Subject(folder, manifest)


@pytest.fixture
def make_artifact(tmp_path: Path) -> Callable[..., Path]:
    """Call it with dtype, dynamic and any other manifest value; gives the folder."""

    def make(*, dtype: str = "float32", dynamic: bool = False, **values: object) -> Path:
        folder = tmp_path / "photos" / "export" / "onnx-fp32"
        folder.mkdir(parents=True, exist_ok=True)
        write_onnx(folder / "model.onnx", spec("NCHW", dtype), dynamic)
        make_manifest(folder, ["model.onnx"], size=SIZE, dtype=dtype, dynamic_batch=dynamic, **values).save(folder)
        return folder

    return make


@pytest.fixture
def images() -> np.ndarray:
    """Seven of them."""
    return noise(7)


@pytest.fixture(name="expected")
def expected_fixture() -> Callable[[np.ndarray], np.ndarray]:
    return expected
