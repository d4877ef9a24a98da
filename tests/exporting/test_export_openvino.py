"""OpenVINO artifacts: answers against torch, and the written XML read by another parser than OpenVINO's."""

import subprocess
import sys

import numpy as np
import phone
import pytest
import torch
from openvino_graph import Graph
from torch import nn

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.exporting.formats import openvino as exporter
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.merge import merge
from mlkdc.models import DecoderHead
from mlkdc.records.manifest import Manifest, describe_files
from mlkdc.runtime import open_artifact
from mlkdc.runtime.backends.openvino import load_openvino

for package in ("onnx", "onnxscript", "onnxslim", "nncf"):
    pytest.importorskip(package)
# Not by importorskip: it must be imported without its telemetry, before anything else imports it.
try:
    openvino = load_openvino()
except UsageError as error:
    pytest.skip(str(error), allow_module_level=True)
pytestmark = pytest.mark.converter

SIZE = 64
CLASSES = ["cat", "dog", "bird"]
FILES = ["model.bin", "model.xml"]


class Residual(nn.Module):
    """What it takes plus a depthwise and a pointwise convolution of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x + self.pointwise(self.depthwise(x).relu())


@pytest.fixture(scope="module")
def model(wrap):
    """A convolution, a residual block, and the head that the students have."""
    stem = [nn.Conv2d(3, 16, 3, stride=4, padding=1), nn.BatchNorm2d(16), nn.ReLU6()]
    trained = wrap(*stem, Residual(16), channels=16)
    torch.manual_seed(3)
    trained.head = DecoderHead(16, len(CLASSES), 32, 48, 2, 0.0)
    for norm in (trained.head.norm2, trained.head.norm3):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
    nn.init.normal_(trained.head.bias)
    return trained.eval()


@pytest.fixture(scope="module")
def images():
    """Noise of different brightness: ``uint8[8, 3, SIZE, SIZE]``."""
    random = np.random.default_rng(0)
    return np.stack([random.integers(0, 32 * (i + 1), (3, SIZE, SIZE)) for i in range(8)]).astype(np.uint8)


@pytest.fixture(scope="module")
def make(model, tmp_path_factory):
    """An artifact folder of the model, by precision and whatever else a job has; the ONNX graph is made only once."""
    merged, graphs, real = merge(model, SIZE)[0], {}, exporter.onnx_graph

    def once(job):
        kind = job.input_dtype, job.dynamic
        graphs[kind] = graphs.get(kind) or real(job)
        return graphs[kind]

    def export(precision="fp32", dtype="float32", dynamic=False, **quantization):
        folder = tmp_path_factory.mktemp("artifact")
        how = Quantization(**quantization) if quantization else None
        changes = {"input_dtype": dtype, "dynamic": dynamic, "quantization": how}
        manifest = phone.export(phone.make_job(merged, "openvino", folder, precision, **changes))
        assert sorted(manifest.files) == FILES
        manifest.save(folder)
        return folder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "onnx_graph", once)
        yield export


@pytest.fixture(scope="module")
def exported(make):
    return make()


@pytest.fixture(scope="module")
def quantized(make, images):
    return make("int8", images=images)


@pytest.fixture
def edited(exported, tmp_path):
    """A copy of the fp32 artifact whose model files, or manifest, were changed with matching checksums."""

    def change(contents=None, **values):
        for name in FILES:
            (tmp_path / name).write_bytes((contents or {}).get(name, (exported / name).read_bytes()))
        values = {"files": describe_files(tmp_path, FILES), **values}
        phone.changed(Manifest.load(exported), **values).save(tmp_path)
        return tmp_path

    return change


def answers(folder, images, **options):
    with open_artifact(folder, **options) as session:
        return session.predict(images)


@torch.no_grad()
def expected(model, images):
    return model(torch.as_tensor(images).float()).sigmoid().numpy()


@pytest.mark.parametrize(("dtype", "dynamic"), [("float32", False), ("uint8", True)])
def test_fp32_answers_like_the_model(make, model, framed_noise, dtype, dynamic):
    folder = make(dtype=dtype, dynamic=dynamic)
    for count in (1, 3, 4):
        actual = answers(folder, framed_noise[:count].numpy())
        np.testing.assert_allclose(actual, expected(model, framed_noise[:count]), rtol=0, atol=1e-5)


def test_fp16_is_half_the_bytes_and_fp32_is_not_compressed(make, model, framed_noise):
    full, half = make(), make("fp16")
    assert (half / "model.bin").stat().st_size < 0.6 * (full / "model.bin").stat().st_size
    actual = answers(half, framed_noise.numpy())
    difference = np.abs(actual - expected(model, framed_noise)).max()
    assert 1e-6 < difference < 0.02
    assert {
        layer.find("data").get("element_type") for layer in Graph(full).layers.values() if layer.get("type") == "Const"
    } <= {"f32", "i64"}


@pytest.mark.parametrize(("dtype", "dynamic"), [("float32", False), ("uint8", True)])
def test_int8_answers_nearly_like_the_model(make, model, images, dtype, dynamic, capfd):
    folder = make("int8", dtype, dynamic, images=images, reduce_range=True)
    assert capfd.readouterr().out == ""
    difference = np.abs(answers(folder, images) - expected(model, images))
    spread = expected(model, images).std(axis=0).mean()
    assert difference.mean() < 0.15 * spread
    assert difference.max() < 0.05


def largest_weights(graph):
    """By the product's name."""
    return {name: np.abs(graph.values(graph.source(name, 1), np.int8)).max() for name in graph.products()}


def test_int8_weights_are_stored_in_8_bits_and_use_all_of_them(quantized, exported):
    graph = Graph(quantized)
    products = {"backbone.0", "backbone.3.depthwise", "backbone.3.pointwise"}
    products |= {f"head.{name}" for name in ("embed", "to_score", "to_value", "to_out", "ffn.0", "ffn.3")}
    assert graph.weight_types() == dict.fromkeys(products, "i8")
    assert Graph(exported).weight_types() == dict.fromkeys(products, "f32")
    assert set(largest_weights(graph).values()) == {127}
    assert (quantized / "model.bin").stat().st_size < 0.4 * (exported / "model.bin").stat().st_size


def test_weights_take_half_of_the_range_where_that_is_set(make, images):
    for name, largest in largest_weights(Graph(make("int8", images=images, reduce_range=True))).items():
        # A depthwise convolution adds up too few products to saturate.
        assert largest == (127 if "depthwise" in name else pytest.approx(63, abs=1))


def test_int8_leaves_the_delicate_parts_in_float(quantized):
    actual = Graph(quantized).quantized_inputs()
    assert ("Convolution", "backbone.0") in actual
    assert ("Add", "backbone.3") in actual
    assert ("MatMul", "head.ffn.3") in actual
    assert {kind for kind, module in actual if not module.startswith("backbone")} <= {"Convolution", "MatMul"}
    assert not {("MatMul", "head"), ("MatMul", "")} & actual
    assert not {kind for kind, _ in actual} & {"MVN", "Softmax", "Sigmoid", "ScaledDotProductAttention"}


def test_kept_modules_stay_in_float(make, images):
    graph = Graph(make("int8", images=images, keep=("backbone.3.depthwise", "head.ffn")))
    types = graph.weight_types()
    kept = {"backbone.3.depthwise", "head.ffn.0", "head.ffn.3"}
    assert {module for module, kind in types.items() if kind == "f32"} == kept
    assert not {module for _, module in graph.quantized_inputs()} & kept


def test_a_scale_for_each_channel_or_one_for_all(make, images, quantized):
    single = Graph(make("int8", images=images, per_channel=False))
    for module, channels in (("backbone.0", 16), ("backbone.3.depthwise", 16), ("head.ffn.0", 48)):
        assert Graph(quantized).scales(module) == channels
        assert single.scales(module) == 1


def test_clipped_ranges_skip_outliers(make, model, images):
    bright = images.copy()
    bright[0, :, 20, 20] = (255, 0, 255)
    plain, clipped = (Graph(make("int8", images=bright, clip=clip)).ranges() for clip in (False, True))
    assert plain.keys() == clipped.keys()
    narrower = [plain[name][1] - clipped[name][1] for name in plain]
    assert max(narrower) > 0
    stem = next(name for name in plain if name.startswith("/"))
    merged = merge(model, SIZE)[0]
    pixels = torch.as_tensor(bright).float() - merged.mean
    assert plain[stem][1] == pytest.approx(pixels.abs().max().item(), rel=0.01)


def test_an_answer_is_not_overwritten_by_the_next(exported, framed_noise):
    with open_artifact(exported) as session:
        batches = [image[None].numpy() for image in framed_noise[:2]]
        first = session.run(batches[0])
        before = first.copy()
        second = session.run(batches[1])
        assert not np.array_equal(before, second)
        np.testing.assert_array_equal(first, before)
        assert first.flags.owndata


def test_threads_reach_the_runtime_and_float32_is_what_it_computes_in(exported):
    for threads in (1, 2):
        with open_artifact(exported, threads=threads) as session:
            compiled = session._backend._compiled
            assert compiled.get_property("INFERENCE_NUM_THREADS") == threads
            assert compiled.get_property("INFERENCE_PRECISION_HINT") == openvino.Type.f32
            assert compiled.get_property("NUM_STREAMS") == 1


@pytest.mark.parametrize(
    "contents",
    [
        {"model.xml": b"no graph at all"},
        {"model.xml": b"<net/>"},
        {"model.xml": b""},
        {"model.bin": b""},
        {"model.bin": b"x" * 100},
    ],
)
def test_damaged_files_with_matching_checksums_are_a_clear_error(edited, contents):
    with pytest.raises(UsageError, match=r"OpenVINO cannot (load|compile) .*model\.xml: \S+ "):
        open_artifact(edited(contents))


def test_a_truncated_graph_is_a_clear_error(edited, exported):
    content = (exported / "model.xml").read_bytes()
    with pytest.raises(UsageError, match=r"OpenVINO cannot load .*model\.xml: "):
        open_artifact(edited({"model.xml": content[: len(content) // 2]}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"input": {"name": "pixels"}}, "input"),
        ({"input": {"dtype": "uint8"}}, "input"),
        ({"input": {"shape": (1, 3, 32, 32)}}, "input"),
        ({"output": {"name": "logits"}}, "output"),
        ({"dynamic_batch": True}, r"'any', 3, 64, 64.*the file has.*1, 3, 64, 64"),
        ({"files": {}}, r"expected one \.xml file in the manifest, got none"),
    ],
)
def test_what_the_manifest_does_not_say_is_refused(edited, values, message):
    with pytest.raises(UsageError, match=message):
        open_artifact(edited(**values))


def test_a_missing_package_is_reported_with_the_line_that_installs_it(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r"pip install 'mlkdc\[openvino-runtime\]'"):
        open_artifact(exported)


def test_what_openvino_cannot_convert_is_reported_in_its_words(make, monkeypatch):
    def refuse(path):
        raise RuntimeError(
            "Check 'known' failed at src/frontend.cpp:12:\nFrontEnd API failed with OpConversionFailure:\nno Foo\n"
        )

    monkeypatch.setattr(openvino, "convert_model", refuse)
    with pytest.raises(MlkdcError, match=r"could not convert the model \(no Foo\); export to onnx instead"):
        make()


def test_nothing_is_reported_over_the_network(tmp_path):
    code = (
        "import sys; from mlkdc.runtime.backends.openvino import load_openvino; load_openvino();"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]"
    )
    environment = {"HOME": str(tmp_path), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())
