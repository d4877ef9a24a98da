"""LiteRT files: their answers, what in them is int8, and what is refused."""

import os
import sys

import numpy as np
import phone
import pytest
import torch

from mlkdc.errors import MlkdcError
from mlkdc.exporting.int8.tflite import quantize
from mlkdc.exporting.job import Quantization

for package in ("litert_torch", "ai_edge_litert", "ai_edge_quantizer"):
    pytest.importorskip(package)
pytestmark = pytest.mark.converter

STEM, DEPTHWISE, NARROW = (8, 3, 3, 3), (1, 3, 3, 16), (8, 1, 1, 16)
FFN = (32, 16), (16, 32)


@pytest.fixture(scope="module")
def model():
    return phone.make_model()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """(job, manifest) of the fp32 file with float32 input, and of the int8 one with uint8 input."""
    artifacts = {}
    for dtype, quantization in (("float32", None), ("uint8", Quantization(phone.photos()))):
        folder = tmp_path_factory.mktemp("litert")
        job = phone.make_job(model, "litert", folder, input_dtype=dtype, quantization=quantization)
        artifacts[job.precision] = job, phone.export(job)
    return artifacts


@pytest.fixture(scope="module")
def content(exported):
    job, manifest = exported["fp32"]
    return (job.folder / next(iter(manifest.files))).read_bytes()


def interpreter(content):
    from ai_edge_litert.interpreter import Interpreter

    opened = Interpreter(model_content=content)
    opened.allocate_tensors()
    return opened


def weights(content):
    """Type and number of different scales of each tensor, by shape."""
    details = interpreter(content).get_tensor_details()
    by_shape = {}
    for tensor in details:
        scales = set(tensor["quantization_parameters"]["scales"].tolist())
        by_shape[tuple(tensor["shape"])] = tensor["dtype"], len(scales)
    return by_shape


def integer(content):
    """The kinds of operators that give int8."""
    opened = interpreter(content)
    types = {tensor["index"]: tensor["dtype"] for tensor in opened.get_tensor_details()}
    operators = opened._get_ops_details()
    return [operator["op_name"] for operator in operators if types.get(operator["outputs"][0]) == np.int8]


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 1e-5), ("int8", 0.05)])
def test_it_answers_like_the_model(precision, allowed, exported, model):
    job, manifest = exported[precision]
    assert list(manifest.files) == ["model.tflite"]
    phone.check_answers(job, manifest, model, allowed)


def test_layers_are_int8_and_what_decides_is_float(exported):
    job, _ = exported["int8"]
    content = (job.folder / "model.tflite").read_bytes()
    kinds = integer(content)
    assert kinds.count("CONV_2D") == 4  # the stem, two in the block, the head's first
    assert kinds.count("DEPTHWISE_CONV_2D") == 1
    assert kinds.count("FULLY_CONNECTED") == 5
    assert kinds.count("ADD") == 1  # the residual one
    assert {"MAX_POOL_2D", "PADV2"} <= set(kinds)
    assert not {"SOFTMAX", "LOGISTIC", "MUL", "SUM", "SUB", "MEAN", "BATCH_MATMUL"} & set(kinds)


def test_scales_per_channel_or_not(content, model):
    images = phone.photos(2)
    actual = {
        per: weights(quantize(content, model, Quantization(images, per_channel=per), "float32"))
        for per in (True, False)
    }
    assert (actual[True][STEM], actual[False][STEM]) == ((np.int8, 8), (np.int8, 1))
    assert (actual[True][DEPTHWISE], actual[False][DEPTHWISE]) == ((np.int8, 16), (np.int8, 1))
    assert (actual[True][FFN[0]], actual[False][FFN[0]]) == ((np.int8, 32), (np.int8, 1))


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (("backbone.0",), {STEM}),
        (("backbone.4.narrow", "head.ffn.0"), {NARROW, FFN[0]}),
        (("head",), {*FFN, (16, 16), (16, 1, 1, 8)}),
        (("backbone.4", "head"), {NARROW, DEPTHWISE, (16, 1, 1, 8), *FFN, (16, 16)}),
    ],
)
def test_modules_that_stay_in_float(keep, kept, content, model):
    quantized = quantize(content, model, Quantization(phone.photos(2), keep=keep), "float32")
    actual = weights(quantized)
    for shape in (STEM, DEPTHWISE, NARROW, *FFN):
        assert actual[shape][0] == (np.float32 if shape in kept else np.int8), shape
    assert ("FULLY_CONNECTED" in integer(quantized)) == ("head" not in keep)


def test_clipped_ranges_skip_what_is_rare(content, model):
    images = np.full((2, 3, phone.SIZE, phone.SIZE), 128, np.uint8)
    images[0, :, 0, 0] = 255  # a single pixel
    means = 255 * np.array([0.2, 0.5, 0.8])
    widths = {}
    for clip in (False, True):
        quantized = interpreter(quantize(content, model, Quantization(images, clip=clip), "float32"))
        for tensor in quantized.get_tensor_details():
            if tuple(tensor["shape"]) == (1, 64, 64, 3) and tensor["dtype"] == np.int8:
                widths.setdefault(clip, 255 * tensor["quantization"][0])
    assert widths[False] == pytest.approx(255 - means[0] - (128 - means[2]), rel=1e-3)
    assert widths[True] == pytest.approx(means[2] - means[0], rel=0.3)


def test_a_module_that_cannot_be_found_is_reported(content, model):
    other = phone.make_model()
    other.backbone[0] = torch.nn.Conv2d(3, 9, 3)
    with pytest.raises(MlkdcError, match=r"backbone\.0 cannot stay in floating point: no operator has its weights"):
        quantize(content, other, Quantization(phone.photos(1), keep=("backbone.0",)), "float32")


def test_the_converter_multiplies_a_layer_norms_gain_into_what_follows(content, model):
    """Which test_modules_that_stay_in_float is not to be misled by."""
    trained = np.sort(model.head.ffn[0].weight.detach().numpy().ravel())
    opened = interpreter(content)
    indices = [tensor["index"] for tensor in opened.get_tensor_details() if tuple(tensor["shape"]) == FFN[0]]
    assert indices
    assert not any(np.array_equal(np.sort(opened.get_tensor(index).ravel()), trained) for index in indices)


def test_a_converter_that_gives_up_is_reported_in_a_line(model, tmp_path, monkeypatch, capfd):
    import litert_torch

    def fail(*_, **__):
        os.write(1, b"chatter")
        raise RuntimeError("no lowering for aten.odd\nand a long story")

    monkeypatch.setattr(litert_torch, "convert", fail)
    message = r"could not export to litert \(RuntimeError: no lowering for aten\.odd\); this architecture"
    phone.check_failure_is_one_sentence(phone.make_job(model, "litert", tmp_path), message, capfd)


def test_threads_reach_the_runtime(exported, monkeypatch):
    from ai_edge_litert import interpreter as package

    requested = []

    class Recorder(package.Interpreter):
        def __init__(self, *args, num_threads=None, **rest):
            requested.append(num_threads)
            super().__init__(*args, num_threads=num_threads, **rest)

    monkeypatch.setattr(package, "Interpreter", Recorder)
    for threads in (None, 1, 2):
        phone.opened(*exported["fp32"], threads)
    assert requested == [None, 1, 2]


@pytest.mark.parametrize(
    "spoil", [lambda content: content[: len(content) // 2], lambda _: b"no model at all", lambda _: b""]
)
def test_a_damaged_file_is_refused(spoil, exported, tmp_path):
    message = r"LiteRT cannot load .*model\.tflite"
    phone.check_damaged_file_is_refused(*exported["fp32"], "model.tflite", spoil, tmp_path, message)


@pytest.mark.parametrize(
    ("role", "change", "message"),
    [
        ("input", {"dtype": "uint8"}, "the manifest says input .*uint8.*the file has .*float32"),
        ("input", {"shape": (1, 32, 32, 3)}, r"the manifest says input .*32, 32, 3.*the file has .*64, 64, 3"),
        ("input", {"name": "photo"}, "the manifest says input .*photo.*the file has .*image"),
        ("output", {"shape": (1, 4)}, "the manifest says output"),
    ],
)
def test_another_signature_than_the_manifest_is_refused(role, change, message, exported):
    phone.check_signature_is_refused(*exported["fp32"], role, change, message)


def test_a_missing_package_is_reported_with_the_line_that_installs_it(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    phone.check_missing_package_is_reported(*exported["fp32"], "litert-runtime")


def test_nothing_is_printed_when_a_file_is_opened(exported, capfd):
    phone.check_opens_in_silence(*exported["fp32"], capfd)
