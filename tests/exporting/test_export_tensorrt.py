"""Engines of TensorRT-RTX, built without a GPU, and the graphs they are built from, run by ONNX Runtime."""

import importlib.util
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import phone
import pytest
import torch
from torch import nn

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.exporting import export as export_run
from mlkdc.exporting.formats import tensorrt as exporting
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.merge import merge
from mlkdc.exporting.naming import module_of
from mlkdc.models import DecoderHead
from mlkdc.records.manifest import Engine, Manifest
from mlkdc.runtime.backends.onnxruntime import OnnxRuntime
from mlkdc.runtime.session import spec_of

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxslim")
trt = pytest.importorskip("tensorrt_rtx")
pytestmark = pytest.mark.converter

SIZE = 64
STEM = "backbone.0"
FLOAT = onnx.TensorProto.FLOAT


@pytest.fixture
def model(wrap):
    """Two convolutions, and a decoder head with most of the weights: quick to build, large enough to weigh."""
    body = [nn.Conv2d(3, 24, 3, stride=4, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 32, 3, stride=4)]
    trained = wrap(*body, channels=32)
    torch.manual_seed(0)
    trained.head = DecoderHead(32, 3, dim=128, ffn=2048, heads=2, dropout=0.0).eval()
    nn.init.normal_(trained.head.weight, 0, 2 * 128**-0.5)
    return merge(lively(trained), SIZE)[0]


@pytest.fixture
def tiny(wrap):
    """A model with a linear head, a scale that is not in a convolution, and little to build."""
    layers = [nn.AvgPool2d(2), nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    return merge(lively(wrap(*layers, channels=8)), SIZE)[0]


def lively(model):
    """With answers to different images that are far apart, so that a wrong one shows."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, 0, layer.weight[0].numel() ** -0.5)
    return model


@pytest.fixture
def export(tmp_path):
    """Call it with a model and what else a job has; gives the job and what was built."""

    def make(model, precision="fp32", dtype="float32", dynamic=False, quantization=None):
        folder = tmp_path / "engine"
        folder.mkdir(exist_ok=True)
        changes = {"input_dtype": dtype, "dynamic": dynamic, "quantization": quantization}
        job = phone.make_job(model, "tensorrt", folder, precision, **changes)
        return job, exporting.export_tensorrt(job)

    return make


@pytest.fixture(scope="module")
def photos():
    """Smooth images, one of them much brighter: ``uint8[6, 3, SIZE, SIZE]``."""
    coarse = np.random.default_rng(0).integers(0, 120, (6, 3, 8, 8)).repeat(8, axis=2).repeat(8, axis=3)
    coarse[0] += 130
    return coarse.astype(np.uint8)


def answers(job, images):
    """Through the backend of the runtime that stands in for TensorRT."""
    manifest = phone.manifest_of(job, ["model.engine", "model.onnx"])
    session = OnnxRuntime(job.folder, spec_of(manifest.for_proxy("onnxruntime")), 1)
    assert session._session.get_session_options().get_session_config_entry("session.disable_quant_qdq") == "1"
    pixels = images.astype(job.input_dtype)
    return session.run(pixels) if job.dynamic else np.concatenate([session.run(image[None]) for image in pixels])


def expected(model, images):
    with torch.no_grad():
        return model(torch.from_numpy(images.astype(np.float32))).numpy()


def types(graph):
    """The element type of every tensor, by name."""
    graph = onnx.shape_inference.infer_shapes(graph, strict_mode=True).graph
    values = [*graph.input, *graph.value_info, *graph.output]
    flowing = {value.name: value.type.tensor_type.elem_type for value in values}
    return flowing | {weight.name: weight.data_type for weight in graph.initializer}


@pytest.mark.parametrize(("precision", "most"), [("fp32", 1e-5), ("fp16", 2e-3), ("int8", 0.05)])
def test_every_precision_builds_an_engine_of_a_graph_that_answers_like_the_model(
    model, export, framed_noise, photos, precision, most
):
    job, built = export(model, precision, quantization=Quantization(photos) if precision == "int8" else None)
    assert sorted(built.files) == sorted(path.name for path in job.folder.iterdir()) == ["model.engine", "model.onnx"]
    actual = answers(job, np.concatenate([framed_noise.numpy(), photos]))
    reference = expected(model, np.concatenate([framed_noise.numpy(), photos]))
    assert 0 < np.abs(actual - reference).max() < most < np.ptp(reference, axis=0).max() / 4
    engine = (job.folder / "model.engine").read_bytes()
    assert not _malformed(engine)
    assert _malformed(b"no engine" * 100)
    weights = 4 * sum(parameter.numel() for parameter in model.parameters())
    assert len(engine) > {"fp32": 1, "fp16": 0.5, "int8": 0.25}[precision] * weights
    assert built.details.engine == Engine(
        library="tensorrt_rtx", version=trt.__version__, compute_capability="8.0+", gpu=None, batch=(1, 1, 1)
    )


def _malformed(engine):
    """What the library says of the file's header; on a machine with no GPU it calls none valid."""
    runtime = trt.Runtime(trt.Logger(trt.Logger.INTERNAL_ERROR))
    _, diagnostics = runtime.get_engine_validity(engine)
    return bool(diagnostics & int(trt.EngineInvalidityDiagnostics.MALFORMED_ENGINE))


def test_half_engines_are_smaller(model, export):
    sizes = []
    for precision in ("fp32", "fp16"):
        job, _ = export(model, precision)
        sizes.append([(job.folder / name).stat().st_size for name in ("model.onnx", "model.engine")])
    halved = 2 * sum(parameter.numel() for parameter in model.parameters())
    saved = [before - after for before, after in zip(*sizes, strict=True)]
    assert saved[0] == pytest.approx(halved, rel=0.05)
    assert saved[1] > 0.8 * halved


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_batch_of_any_size_of_uint8(tiny, export, photos, precision):
    quantization = Quantization(photos) if precision == "int8" else None
    job, built = export(tiny, precision, "uint8", True, quantization)
    assert built.details.engine.batch == (1, 8, 32)
    for count in (1, 3):
        most = {"fp32": 1e-5, "fp16": 2e-3, "int8": 0.02}[precision]
        np.testing.assert_allclose(answers(job, photos[:count]), expected(tiny, photos[:count]), rtol=0, atol=most)
    assert np.ptp(expected(tiny, photos[:3]), axis=0).max() > 4 * most


def quantized(job):
    """By module of a product: the scales of what it is given and of its weights."""
    graph = onnx.load(job.folder / "model.onnx").graph
    values = {weight.name: onnx.numpy_helper.to_array(weight) for weight in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    scales = {}
    for node in graph.node:
        sources = [makers.get(name) for name in node.input[:2]]
        if node.op_type in ("Conv", "Gemm", "MatMul") and all(s and s.op_type == "DequantizeLinear" for s in sources):
            scales[module_of(node.name)] = [values[source.input[1]] for source in sources]
    return scales


def test_int8_is_quantized_as_set(model, export, photos):
    every = quantized(export(model, "int8", quantization=Quantization(photos))[0])
    layers = {name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    assert set(every) == layers
    stem, kernel = every[STEM]
    assert (stem.size, kernel.shape, kernel.dtype) == (1, (24,), np.float16)
    largest = model.get_submodule(STEM).weight.detach().abs().amax((1, 2, 3)).numpy()
    np.testing.assert_allclose(kernel, 64 * largest / 127, rtol=0.02)  # of weights that half precision holds well

    kept = quantized(export(model, "int8", quantization=Quantization(photos, keep=(STEM, "head")))[0])
    assert set(every) - set(kept) == {STEM} | {name for name in layers if name.startswith("head.")}

    other = quantized(export(model, "int8", quantization=Quantization(photos, per_channel=False, clip=True))[0])
    assert all(weight.size == 1 for _, weight in other.values())
    ranges = np.array([[float(scales[name][0]) for name in sorted(layers)] for scales in (other, every)])
    assert (ranges[0] < 0.99 * ranges[1]).any()
    assert (ranges[0] < 1.01 * ranges[1]).all()


def test_a_channel_without_weights_can_be_quantized(model, export, photos, framed_noise):
    """Its scale is zero in half precision, which TensorRT refuses."""
    with torch.no_grad():
        stem = model.get_submodule(STEM)
        stem.weight[3] *= 1e-9 / stem.weight[3].abs().max()
    job, _ = export(model, "int8", quantization=Quantization(photos))
    assert (quantized(job)[STEM][1] > 0).all()
    assert quantized(job)[STEM][1][3] < 1e-6
    np.testing.assert_allclose(
        answers(job, framed_noise.numpy()), expected(model, framed_noise.numpy()), rtol=0, atol=0.05
    )


def test_what_int8_leaves_is_half(model, export, photos):
    job, _ = export(model, "int8", quantization=Quantization(photos, keep=(STEM,)))
    graph = onnx.load(job.folder / "model.onnx")
    kinds = types(graph)
    in_float = {node.op_type for node in graph.graph.node if kinds[node.output[0]] == FLOAT}
    assert in_float == {"Sub", "Cast", "Mul", "ReduceSum", "Sigmoid"}
    softmax = next(node for node in graph.graph.node if node.op_type == "Softmax")
    users = [node.op_type for node in graph.graph.node if softmax.output[0] in node.input]
    assert users == ["MatMul"]
    scaled = {node.output[0] for node in graph.graph.node if node.op_type == "DequantizeLinear"}
    users = {node.op_type for node in graph.graph.node if scaled & set(node.input)}
    assert users == {"Conv", "MatMul", "Gemm"}  # what follows them is fused with them


def test_what_the_parser_refuses_is_reported(tiny, export, monkeypatch):
    def unknown(graph):
        graph.graph.node[-1].op_type = "Det"
        return graph

    monkeypatch.setattr(exporting, "to_half", unknown)
    monkeypatch.setattr(exporting, "save", lambda graph, job: None)
    with pytest.raises(
        MlkdcError, match=r"TensorRT-RTX 1\.\S+ cannot parse the exported graph \(.*; try precision fp32"
    ):
        export(tiny, "fp16")


def test_what_the_builder_refuses_is_reported(tiny, export, monkeypatch):
    create = trt.Builder.create_builder_config

    def for_turing(builder):
        config = create(builder)
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM75, 0)
        return config

    monkeypatch.setattr(trt.Builder, "create_builder_config", for_turing)
    with pytest.raises(MlkdcError, match=r"cannot build an engine: .*SM75"):
        export(tiny)


def test_the_manifest_says_what_was_not_run(make_run, wrap):
    layers = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    folder = export_run(make_run(wrap(*layers, channels=8)), "tensorrt", precision="fp16")
    manifest = Manifest.load(folder)
    manifest.verify(folder)
    assert set(manifest.files) == {"model.engine", "model.onnx"}
    assert manifest.details.engine.compute_capability == "8.0+"
    if importlib.util.find_spec("tensorrt") is None:
        assert "tensorrt-rtx" in manifest.versions
    assert "No engine was run" in manifest.details.unverified_by_authors


@pytest.fixture
def full_tensorrt(monkeypatch):
    """TensorRT-RTX under TensorRT's name, with a GPU in the machine: the calls are the same."""
    module = ModuleType("tensorrt")
    module.__dict__.update({name: value for name, value in vars(trt).items() if not name.startswith("__")})
    module.__version__ = "10.14.1"
    module.__spec__ = ModuleSpec("tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    monkeypatch.setattr(exporting.cuda, "available", lambda: True)
    monkeypatch.setattr(exporting.cuda, "gpu", lambda: ("Orin", (8, 7)))
    return module


def test_tensorrt_is_preferred_where_it_can_build(tiny, export, full_tensorrt, monkeypatch, framed_noise):
    requested = []
    create = trt.Builder.create_network

    def record(builder, flags):
        requested.append(flags)
        return create(builder, flags)

    monkeypatch.setattr(trt.Builder, "create_network", record)
    job, built = export(tiny, "fp16")
    assert requested == [1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)]
    assert built.details.engine == Engine(
        library="tensorrt", version="10.14.1", compute_capability="8.7", gpu="Orin", batch=(1, 1, 1)
    )
    assert "capability 8.7 and TensorRT 10.14.1" in built.details.needs
    np.testing.assert_allclose(
        answers(job, framed_noise.numpy()), expected(tiny, framed_noise.numpy()), rtol=0, atol=2e-3
    )


def test_tensorrt_gives_way_to_rtx_without_a_gpu_and_where_its_libraries_are_missing(
    tiny, export, full_tensorrt, monkeypatch
):
    def load(name):
        if name == "tensorrt":
            raise UsageError("libnvinfer is not there")
        return real(name)

    real = exporting.load_library
    monkeypatch.setattr(exporting, "load_library", load)
    assert export(tiny)[1].details.engine.library == "tensorrt_rtx"
    monkeypatch.setattr(exporting.cuda, "available", lambda: False)
    assert export(tiny)[1].details.engine.library == "tensorrt_rtx"
    actual = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorrt_rtx" else actual(name))
    monkeypatch.setattr(exporting.cuda, "available", lambda: True)
    with pytest.raises(UsageError, match="libnvinfer is not there"):
        export(tiny)


def test_a_missing_library_says_what_to_install(tiny, export, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    with pytest.raises(UsageError, match=r"needs TensorRT-RTX, which cannot be imported .*'mlkdc\[tensorrt\]'"):
        export(tiny)


def test_int8_in_an_opset_without_scales_in_half_precision_is_refused(tiny, tmp_path):
    how = Quantization(np.zeros((1, 3, SIZE, SIZE), dtype=np.uint8))
    job = phone.make_job(tiny, "tensorrt", tmp_path, "int8", quantization=how)
    job = replace(job, target=job.target.model_copy(update={"opset": 18}))
    with pytest.raises(UsageError, match="needs ONNX opset 19 or later, got 18; omit --opset"):
        exporting.export_tensorrt(job)
