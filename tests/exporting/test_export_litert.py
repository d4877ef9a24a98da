"""LiteRT files: their answers, what in them is int8, and what is refused."""

import os
import sys
from dataclasses import replace

import numpy as np
import phone
import pytest
import torch

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.exporting.formats import Quantization
from mlkdc.exporting.int8.tflite import quantize
from mlkdc.runtime.targets import load_target

pytestmark = pytest.mark.skipif(bool(load_target("litert").missing()), reason="LiteRT is not installed")

STEM, DEPTHWISE, NARROW = (8, 3, 3, 3), (1, 3, 3, 16), (8, 1, 1, 16)
FFN = (32, 16), (16, 32)


@pytest.fixture(scope="module")
def model():
    return phone.make_model()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """(job, manifest) of the fp32 file with float32 input, and of the int8 one with uint8 input."""
    images = phone.photos()
    made = {}
    for dtype, quantization in (("float32", None), ("uint8", Quantization(images))):
        job = phone.make_job(model, "litert", tmp_path_factory.mktemp("litert"), dtype, quantization)
        made[job.precision] = job, phone.export(job)
    return made


@pytest.fixture(scope="module")
def content(exported):
    job, manifest = exported["fp32"]
    return (job.folder / next(iter(manifest.files))).read_bytes()


def interpreter(content):
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_content=content)
    made.allocate_tensors()
    return made


def weights(content):
    """Type and number of different scales of each tensor, by shape."""
    details = interpreter(content).get_tensor_details()
    scales = [set(each["quantization_parameters"]["scales"].tolist()) for each in details]
    return {tuple(each["shape"]): (each["dtype"], len(actual)) for each, actual in zip(details, scales, strict=True)}


def integer(content):
    """The kinds of operators that give int8."""
    made = interpreter(content)
    types = {each["index"]: each["dtype"] for each in made.get_tensor_details()}
    return [each["op_name"] for each in made._get_ops_details() if types.get(each["outputs"][0]) == np.int8]


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 1e-5), ("int8", 0.05)])
def test_it_answers_like_the_model(precision, allowed, exported, model):
    job, manifest = exported[precision]
    assert list(manifest.files) == ["model.tflite"]
    images = phone.photos()
    backend = phone.opened(job, manifest)
    actual = phone.answers(backend, manifest, images)
    right = phone.expected(model, images)
    assert np.ptp(right, axis=0).max() > 4 * allowed
    np.testing.assert_allclose(actual, right, rtol=0, atol=allowed)
    # again, in another order: nothing of an answer stays behind
    np.testing.assert_array_equal(phone.answers(backend, manifest, images[::-1]), actual[::-1])
    backend.close()


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
    made = quantize(content, model, Quantization(phone.photos(2), keep=keep), "float32")
    actual = weights(made)
    for shape in (STEM, DEPTHWISE, NARROW, *FFN):
        assert actual[shape][0] == (np.float32 if shape in kept else np.int8), shape
    assert ("FULLY_CONNECTED" in integer(made)) == ("head" not in keep)


def test_clipped_ranges_leave_out_what_is_rare(content, model):
    images = np.full((2, 3, phone.SIZE, phone.SIZE), 128, np.uint8)
    images[0, :, 0, 0] = 255  # a single pixel
    means = 255 * np.array([0.2, 0.5, 0.8])
    widths = {}
    for clip in (False, True):
        made = interpreter(quantize(content, model, Quantization(images, clip=clip), "float32"))
        details = [each for each in made.get_tensor_details() if tuple(each["shape"]) == (1, 64, 64, 3)]
        widths[clip] = next(255 * each["quantization"][0] for each in details if each["dtype"] == np.int8)
    assert widths[False] == pytest.approx(255 - means[0] - (128 - means[2]), rel=1e-3)
    assert widths[True] == pytest.approx(means[2] - means[0], rel=0.3)


def test_a_module_that_cannot_be_found_is_told(content, model):
    other = phone.make_model()
    other.backbone[0] = torch.nn.Conv2d(3, 9, 3)
    with pytest.raises(MlkdcError, match=r"backbone\.0 cannot be left in floating point: no operator has its weights"):
        quantize(content, other, Quantization(phone.photos(1), keep=("backbone.0",)), "float32")


def test_the_converter_multiplies_a_layer_norms_gain_into_what_follows(content, model):
    """Which test_modules_that_stay_in_float is not to be misled by."""
    own = np.sort(model.head.ffn[0].weight.detach().numpy().ravel())
    made = interpreter(content)
    details = [each for each in made.get_tensor_details() if tuple(each["shape"]) == FFN[0]]
    assert details
    assert not any(np.array_equal(np.sort(made.get_tensor(each["index"]).ravel()), own) for each in details)


def test_a_converter_that_gives_up_is_told_in_a_line(model, tmp_path, monkeypatch, capfd):
    import litert_torch

    def fail(*_, **__):
        os.write(1, b"chatter")
        raise RuntimeError("no lowering for aten.odd\nand a long story")

    monkeypatch.setattr(litert_torch, "convert", fail)
    with pytest.raises(MlkdcError, match=r"could not convert the model \(no lowering for aten\.odd\); this archit"):
        phone.export(phone.make_job(model, "litert", tmp_path))
    assert not list(tmp_path.iterdir())
    assert "chatter" not in "".join(capfd.readouterr())


def test_threads_reach_the_runtime(exported, monkeypatch):
    from ai_edge_litert import interpreter as package

    asked = []

    class Recorder(package.Interpreter):
        def __init__(self, *args, num_threads=None, **rest):
            asked.append(num_threads)
            super().__init__(*args, num_threads=num_threads, **rest)

    monkeypatch.setattr(package, "Interpreter", Recorder)
    for threads in (None, 1, 2):
        phone.opened(*exported["fp32"], threads)
    assert asked == [None, 1, 2]


@pytest.mark.parametrize("spoil", [lambda whole: whole[: len(whole) // 2], lambda whole: b"no model at all", bytes])
def test_a_damaged_file_is_refused(spoil, exported, tmp_path):
    job, manifest = exported["fp32"]
    whole = (job.folder / "model.tflite").read_bytes()
    (tmp_path / "model.tflite").write_bytes(spoil(whole) if spoil is not bytes else b"")
    with pytest.raises(UsageError, match=r"LiteRT cannot load .*model\.tflite"):
        phone.opened(replace(job, folder=tmp_path), manifest)


@pytest.mark.parametrize(
    ("role", "change", "message"),
    [
        ("input", {"dtype": "uint8"}, "the manifest says input .*uint8.*the file has .*float32"),
        ("input", {"shape": [1, 32, 32, 3]}, r"the manifest says input .*32, 32, 3.*the file has .*64, 64, 3"),
        ("input", {"name": "photo"}, "the manifest says input .*photo.*the file has .*image"),
        ("output", {"shape": [1, 4]}, "the manifest says output"),
    ],
)
def test_another_signature_than_the_manifest_is_refused(role, change, message, exported, monkeypatch):
    job, manifest = exported["fp32"]
    monkeypatch.setattr(manifest, role, {**getattr(manifest, role), **change})
    with pytest.raises(UsageError, match=message):
        phone.opened(job, manifest)


def test_a_missing_package_is_told_with_the_line_that_installs_it(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UsageError, match=r"pip install 'mlkdc\[litert\]'"):
        phone.opened(*exported["fp32"])


def test_nothing_is_printed_when_a_file_is_opened(exported, capfd):
    phone.opened(*exported["fp32"])
    assert capfd.readouterr() == ("", "")
