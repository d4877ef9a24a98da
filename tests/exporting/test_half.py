"""Which parts of a graph in half precision are in half precision, and what that costs."""

from pathlib import Path

import numpy as np
import phone
import pytest
import torch
from torch import nn

from mlkdc.errors import MlkdcError
from mlkdc.exporting.formats.onnx import onnx_graph
from mlkdc.exporting.half import to_half
from mlkdc.exporting.merging.merge import merge
from mlkdc.models import DecoderHead

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
reference = pytest.importorskip("onnx.reference")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxslim")
pytestmark = pytest.mark.converter

SIZE = 64
FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


@pytest.fixture
def model(wrap):
    """A residual block and a decoder head; the input's scale stays an operation."""
    body = [nn.AvgPool2d(2), nn.BatchNorm2d(3), nn.Conv2d(3, 24, 3, stride=4), nn.BatchNorm2d(24), nn.ReLU6()]
    trained = wrap(*body, channels=24)
    torch.manual_seed(0)
    trained.head = DecoderHead(24, 3, dim=32, ffn=64, heads=2, dropout=0.0).eval()
    return merge(trained, SIZE)[0]


@pytest.fixture(params=["float32", "uint8"])
def graph(request, model):
    return onnx_graph(job(model, request.param))


def job(model, dtype="float32"):
    return phone.make_job(model, "onnx", Path(), "fp16", input_dtype=dtype)


def types(graph):
    """The element type of every tensor, by name."""
    graph = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    flowing = {value.name: value.type.tensor_type.elem_type for value in values}
    return flowing | {weight.name: weight.data_type for weight in graph.initializer}


def answers(graph, images):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


def expected(model, images):
    with torch.no_grad():
        return model(torch.from_numpy(images)).numpy()


def test_both_ends_are_float_and_nothing_else(graph):
    halved = to_half(graph)
    onnx.checker.check_model(halved, full_check=True)
    kinds = types(halved)
    in_float = [node.op_type for node in halved.graph.node if kinds[node.output[0]] == FLOAT]
    first = ["Cast"] if kinds["image"] == onnx.TensorProto.UINT8 else []
    assert in_float == [*first, "Sub", "Mul", "Cast", "Mul", "ReduceSum", "Sigmoid"]
    for node in halved.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul", "LayerNormalization", "Softmax", "Clip"):
            assert {kinds[name] for name in (*node.input, *node.output)} == {HALF}, node.name
    assert [kinds["image"], kinds["probabilities"]] == [types(graph)["image"], FLOAT]


def test_no_weight_is_there_twice_or_for_nothing(graph):
    before, halved = graph.SerializeToString(), to_half(graph)
    assert graph.SerializeToString() == before
    names = [weight.name for weight in halved.graph.initializer]
    assert len(names) == len(set(names))
    assert set(names) <= {name for node in halved.graph.node for name in node.input}


def test_it_answers_like_the_model(graph, model, framed_noise):
    images = framed_noise.numpy()
    dtype = np.uint8 if types(graph)["image"] == onnx.TensorProto.UINT8 else np.float32
    difference = np.abs(answers(to_half(graph), images.astype(dtype)) - expected(model, images))
    assert 0 < difference.max() < 1e-3


def test_pixels_that_are_no_whole_numbers_keep_their_fraction(wrap):
    """Half precision knows 200 and 200.125 and nothing between; the mean is 200 here.

    ONNX's reference evaluator computes in half what is in half; ONNX Runtime on a CPU does not.
    """
    model = merge(wrap(nn.Conv2d(3, 8, 3), nn.ReLU(), channels=8), SIZE)[0]
    model.mean.fill_(200.0)
    model.backbone[0].weight.data *= 500
    model.backbone[0].bias.data.zero_()
    images = (
        np.ones((5, 3, SIZE, SIZE), dtype=np.float32)
        * np.linspace(199.94, 200.06, 5, dtype=np.float32)[:, None, None, None]
    )
    right = expected(model, images)
    assert np.ptp(right) > 0.05
    evaluator = reference.ReferenceEvaluator(to_half(onnx_graph(job(model))))
    actual = np.concatenate([evaluator.run(None, {"image": image[None]})[0] for image in images])
    np.testing.assert_allclose(actual, right, rtol=0, atol=5e-3)


def make_graph(nodes, weights):
    """A model from ``image [1, 3]`` to ``probabilities [1, 3]``."""
    ends = [onnx.helper.make_tensor_value_info(name, FLOAT, [1, 3]) for name in ("image", "probabilities")]
    graph = onnx.helper.make_graph(nodes, "small", ends[:1], ends[1:], weights)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])


def test_what_something_else_takes_too_is_no_logit():
    make_node = onnx.helper.make_node
    nodes = [
        make_node("MatMul", ["image", "weight"], ["hidden"], name="matmul"),
        make_node("Add", ["hidden", "bias"], ["shared"], name="add"),
        make_node("Sigmoid", ["shared"], ["gate"], name="sigmoid"),
        make_node("Softmax", ["shared"], ["attention"], name="softmax"),
        make_node("Mul", ["gate", "attention"], ["probabilities"], name="mul"),
    ]
    weights = [
        onnx.numpy_helper.from_array(np.eye(3, dtype=np.float32), "weight"),
        onnx.numpy_helper.from_array(np.ones(3, dtype=np.float32), "bias"),
    ]
    halved = to_half(make_graph(nodes, weights))
    kinds = types(halved)
    assert [node.op_type for node in halved.graph.node if kinds[node.output[0]] == HALF and node.op_type != "Cast"] == [
        "MatMul",
        "Add",
        "Softmax",
    ]


def test_a_weight_too_large_for_half_precision_is_reported():
    weight = onnx.numpy_helper.from_array(np.full((3, 3), 1e5, dtype=np.float32), "layer.weight")
    node = onnx.helper.make_node("MatMul", ["image", "layer.weight"], ["probabilities"], name="layer/matmul")
    with pytest.raises(MlkdcError, match=r"layer\.weight holds 1e\+05, and half precision ends at 65504"):
        to_half(make_graph([node], [weight]))
