"""What an int8 ONNX graph holds: which layers are quantized, with which scales."""

from pathlib import Path

import numpy as np
import phone
import pytest
import torch

from mlkdc.exporting.formats.onnx import onnx_graph
from mlkdc.exporting.int8.qdq import quantize
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.merge import merge
from mlkdc.exporting.naming import module_of

onnxruntime = pytest.importorskip("onnxruntime")
numpy_helper = pytest.importorskip("onnx.numpy_helper")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxslim")
pytestmark = pytest.mark.converter

SIZE = 64
STEM = "backbone.body.conv1.0"


@pytest.fixture(scope="module")
def model(student):
    return merge(student("shufflenetv2_x0_5"), SIZE)[0]


@pytest.fixture(scope="module")
def graph(model):
    return onnx_graph(phone.make_job(model, "onnx", Path()))


@pytest.fixture(scope="module")
def small():
    """A model in which rounding errors do not grow from layer to layer, its graph and its answers to phone.photos()."""
    model, images = phone.make_model(), phone.photos()
    graph = onnx_graph(phone.make_job(model, "onnx", Path()))
    expected = phone.expected(model, images)
    assert np.ptp(expected, axis=0).max() > 0.3  # images get answers that are far apart
    return model, graph, images, expected


@pytest.fixture(scope="module")
def images():
    """Smooth, as photos are, with one much brighter than the rest."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 120, (6, 3, 8, 8)).repeat(8, axis=2).repeat(8, axis=3)
    coarse[0] += 130
    return coarse.astype(np.uint8)


def answers(model, images, symmetric=False):
    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image[None].astype(np.float32)})[0] for image in images])


def weight_scales(model):
    """By module: the scale of each quantized Conv, Gemm or MatMul weight."""
    values = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    scales = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and len(node.input) > 1:
            maker = makers.get(node.input[1])
            if maker is not None and maker.op_type == "DequantizeLinear" and maker.input[0] in values:
                scales[module_of(node.name)] = values[maker.input[1]]
    return scales


def test_names_say_the_module_of_every_weighted_node(graph, model):
    kinds = {type(model.get_submodule(module_of(node.name))) for node in graph.graph.node if node.op_type == "Conv"}
    assert kinds == {torch.nn.Conv2d}
    assert {module_of(node.name) for node in graph.graph.node if node.op_type == "Gemm"} == {
        "head.to_out",
        "head.ffn.0",
        "head.ffn.3",
        "head.shortcut",
    }


def test_it_answers_like_the_model(small):
    _, graph, images, expected = small
    actual = answers(quantize(graph, Quantization(images, reduce_range=True), "float32"), images)
    assert 0 < np.abs(actual - expected).max() < 0.08
    np.testing.assert_allclose(answers(graph, images), expected, atol=1e-5)  # the graph it came from is untouched


def test_scales_are_per_channel_by_default(graph, images, model):
    scales = weight_scales(quantize(graph, Quantization(images), "float32"))
    assert scales[STEM].shape == (24,)
    assert len(scales) == sum(isinstance(m, torch.nn.Conv2d | torch.nn.Linear) for m in model.modules())
    single = weight_scales(quantize(graph, Quantization(images, per_channel=False), "float32"))
    assert all(scale.size == 1 for scale in single.values())


@pytest.mark.parametrize(("reduced", "steps"), [(False, 127.5), (True, 63.5)])
def test_weights_take_the_range_that_is_set(graph, images, model, reduced, steps):
    scales = weight_scales(quantize(graph, Quantization(images, reduce_range=reduced), "float32"))
    largest = model.get_submodule(STEM).weight.detach().abs().amax((1, 2, 3)).numpy()
    np.testing.assert_allclose(scales[STEM], largest / steps, rtol=0.02)


def test_what_is_kept_stays_in_float(graph, images):
    every = set(weight_scales(quantize(graph, Quantization(images), "float32")))
    left = set(weight_scales(quantize(graph, Quantization(images, keep=(STEM, "head")), "float32")))
    assert every - left == {STEM} | {name for name in every if name.startswith("head.")}


def test_the_input_the_last_product_and_the_sigmoid_stay_in_float(graph, images):
    model = quantize(graph, Quantization(images), "float32")
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    assert [node.op_type for node in model.graph.node if "image" in node.input] == ["Sub"]
    for kind in ("Mul", "ReduceSum", "Sigmoid"):
        nodes = [node for node in model.graph.node if node.op_type == kind]
        assert len(nodes) == 1
        assert "DequantizeLinear" not in [makers.get(name) for name in nodes[0].input]
    assert makers["probabilities"] == "Sigmoid"


def test_clipping_narrows_ranges(graph, images):
    def first_scale(clip):
        model = quantize(graph, Quantization(images, clip=clip), "float32")
        values = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
        scales = [values[node.input[1]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
        return np.array([float(scale) for scale in scales if scale.size == 1])

    wide, narrow = first_scale(False), first_scale(True)
    assert wide.shape == narrow.shape
    assert (narrow <= wide * 1.01).all()
    assert (narrow < wide * 0.99).any()


def test_symmetric_graphs_have_no_zero_point_and_no_integer_bias(graph, images):
    quantized = quantize(graph, Quantization(images), "float32", symmetric=True)
    values = {item.name: numpy_helper.to_array(item) for item in quantized.graph.initializer}
    for node in quantized.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = values[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()


def test_symmetric_graphs_answer_like_the_model(small):
    _, graph, images, expected = small
    actual = answers(quantize(graph, Quantization(images), "float32", symmetric=True), images)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=0.08)


def test_a_dynamic_batch_of_uint8_can_be_quantized(small):
    model, _, images, expected = small
    job = phone.make_job(model, "onnx", Path(), "int8", input_dtype="uint8", dynamic=True)
    quantized = quantize(onnx_graph(job), Quantization(images, reduce_range=True), "uint8")
    session = onnxruntime.InferenceSession(quantized.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"image": images})[0], expected, rtol=0, atol=0.08)
