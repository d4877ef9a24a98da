"""Fixtures: a tiny ONNX artifact with known mathematics, made on the spot, and images for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from samples import make_manifest

SIZE = 8


def write_model(path: Path, dtype: str, dynamic: bool) -> None:
    """Per channel: sigmoid(mean over the image / 255 - 0.5)."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    batch = "batch" if dynamic else 1
    constants = {"axes": np.array([2, 3]), "scale": np.float32(1 / 255), "half": np.float32(0.5)}
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["scaled"]),
        helper.make_node("Sub", ["scaled", "half"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
    ]
    kind = TensorProto.UINT8 if dtype == "uint8" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("image", kind, [batch, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def expected(images: np.ndarray) -> np.ndarray:
    """What the model above gives, by numpy."""
    return 1 / (1 + np.exp(0.5 - images.mean(axis=(2, 3), dtype=np.float64) / 255))


@pytest.fixture
def make_artifact(tmp_path) -> Callable[..., Path]:
    """Call it with dtype, dynamic and any other manifest value; gives the folder."""

    def make(*, dtype: str = "float32", dynamic: bool = False, **values) -> Path:
        folder = tmp_path / "photos" / "export" / "onnx-fp32"
        folder.mkdir(parents=True, exist_ok=True)
        write_model(folder / "model.onnx", dtype, dynamic)
        make_manifest(folder, ["model.onnx"], size=SIZE, dtype=dtype, dynamic_batch=dynamic, **values).save(folder)
        return folder

    return make


@pytest.fixture
def images() -> np.ndarray:
    """Seven images whose channels differ: uint8 [7, 3, 8, 8]."""
    rng = np.random.default_rng(0)
    return (rng.integers(0, 86, (7, 3, SIZE, SIZE)) + 85 * np.arange(3)[:, None, None]).astype(np.uint8)


@pytest.fixture(name="expected")
def expected_fixture() -> Callable[[np.ndarray], np.ndarray]:
    return expected
