"""Each fault that exports have had somewhere, planted on purpose: who catches it, and in which words."""

import copy
import dataclasses
import shutil

import numpy as np
import pytest
import torch
from samples import make_manifest
from torch import nn

from mlkdc.commands.describe import artifact_lines
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.exporting import batches, builder, export
from mlkdc.exporting.formats import EXPORTERS
from mlkdc.exporting.known import RunImages
from mlkdc.records.manifest import Manifest
from mlkdc.records.metadata import metadata
from mlkdc.records.parity import Parity
from mlkdc.resources import file_sha256
from mlkdc.runtime import open_artifact
from mlkdc.runtime.base import import_error

for package in ("onnx", "onnxruntime", "onnxscript", "onnxslim"):
    pytest.importorskip(package)
pytestmark = pytest.mark.converter

export_onnx = EXPORTERS.get("onnx")
DIFFERENT = "is marked as failed: largest probability difference"


class Spoiled(nn.Module):
    """An exported model with a function of the model and the image instead of its own answer."""

    def __init__(self, model, answer):
        super().__init__()
        self.model, self.answer = copy.deepcopy(model), answer

    def forward(self, image):
        return self.answer(self.model, image)


def with_mean(model, image):
    model.mean = model.mean + 20
    return model(image)


def padded_wrongly(model, image):
    """The mean as a bias, which is right everywhere but at the border."""
    conv = model.backbone[0]
    shift = (conv.weight * model.mean).sum((1, 2, 3))
    conv.bias = nn.Parameter(conv.bias - shift)
    model.mean = torch.zeros_like(model.mean)
    return model(image)


def with_other_weights(model, image):
    model.backbone[0].weight = nn.Parameter(model.backbone[0].weight.roll(1, dims=0))
    return model(image)


def normalized_twice(model, image):
    return model((image - model.mean) / 60)


def overflowing(model, image):
    return (model.logits(image).mul(1e6).to(torch.float16).to(torch.float32) / 1e6).sigmoid()


FAULTS = {
    "swapped channels": (lambda model, image: model(image.flip(1)), DIFFERENT),
    "wrong mean": (with_mean, DIFFERENT),
    "wrong border": (padded_wrongly, DIFFERENT),
    "other weights": (with_other_weights, DIFFERENT),
    "normalization twice": (normalized_twice, DIFFERENT),
    "sigmoid twice": (lambda model, image: model(image).sigmoid(), DIFFERENT),
    "sigmoid missing": (lambda model, image: model.logits(image), r"where probabilities are in 0\.\.1: the sigmoid"),
    "rolled classes": (lambda model, image: model(image).roll(1, dims=1), DIFFERENT),
    "overflow in half precision": (overflowing, DIFFERENT),
    "NaN": (lambda model, image: (model.logits(image) * 1e38).pow(2).neg().sqrt(), "gives NaN or infinity"),
}


@pytest.fixture(scope="module")
def run(make_run, wrap):
    model = wrap(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), channels=8)
    return make_run(model)


@pytest.fixture(scope="module")
def sound(run):
    return export(run, "onnx", out=run.path / "sound")


@pytest.fixture
def planted(monkeypatch):
    """Let the exporter export another model than it is given."""

    def use(answer):
        def exporter(job):
            return export_onnx(dataclasses.replace(job, model=Spoiled(job.model, answer).eval()))

        monkeypatch.setattr(EXPORTERS, "get", lambda name: exporter)

    return use


def test_without_a_fault_it_passes(run, planted, tmp_path):
    planted(lambda model, image: model(image))
    assert Manifest.load(export(run, "onnx", out=tmp_path / "a")).status == "ok"


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_catches(fault, run, planted, tmp_path):
    answer, message = FAULTS[fault]
    planted(answer)
    with pytest.raises(MlkdcError, match=message):
        export(run, "onnx", out=tmp_path / "a")
    assert Manifest.load(tmp_path / "a").status == "failed"
    with pytest.raises(UsageError, match="is a failed export"):
        open_artifact(tmp_path / "a")


def described(monkeypatch, **changes):
    """Let the manifest say something else than what was exported."""
    real = builder.describe
    monkeypatch.setattr(builder, "describe", lambda *given: real(*given).model_copy(update=changes))


def test_reversed_names_in_the_manifest_are_told_by_the_file(run, monkeypatch, tmp_path):
    described(monkeypatch, classes=run.classes[::-1])
    with pytest.raises(MlkdcError, match=r'entry 1 of classes is "bird" in the manifest and "cat" in the file'):
        export(run, "onnx", out=tmp_path / "a")


def test_names_reversed_everywhere_are_caught_by_name(run, monkeypatch, tmp_path):
    """The manifest and what the file says of itself agree, and both are wrong."""
    described(monkeypatch, classes=run.classes[::-1])
    monkeypatch.setattr(builder, "metadata", lambda classes, *rest: metadata(classes[::-1], *rest))
    with pytest.raises(MlkdcError, match=DIFFERENT):
        export(run, "onnx", out=tmp_path / "a")


def test_other_names_in_the_manifest_are_named(run, monkeypatch, tmp_path):
    described(monkeypatch, classes=("cat", "dog", "cow"))
    with pytest.raises(MlkdcError, match="classes are not the data's: bird, cow are in one of them only"):
        export(run, "onnx", out=tmp_path / "a")


def test_another_way_to_make_squares_in_the_manifest_is_caught(run, sound, monkeypatch, tmp_path):
    cropped = Manifest.load(sound).preprocess.model_copy(update={"fit": "crop"})
    described(monkeypatch, preprocess=cropped)
    with pytest.raises(MlkdcError, match=r"prepared as the manifest says \(crop to 64 px\), is not what the model was"):
        export(run, "onnx", out=tmp_path / "a")


def test_other_weights_than_those_scored_are_refused(run, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "weights_sha256", file_sha256(run.weights))
    before = run.weights.read_bytes()
    folder = export(run, "onnx", out=tmp_path / "a")
    assert Manifest.load(folder).weights_sha256 == run.weights_sha256
    run.weights.write_bytes(before + b"!")
    try:
        with pytest.raises(UsageError, match=r"is not the model that results\.json scored"):
            export(run, "onnx", out=tmp_path / "b")
    finally:
        run.weights.write_bytes(before)
    assert not (tmp_path / "b").exists()


def test_another_map_than_results_say_is_refused(run, tmp_path, monkeypatch):
    """A run of an older version recorded no SHA-256; the model's answers still say whose they are."""
    right = run.map_percent
    monkeypatch.setattr(run, "map_percent", right + 1)
    with pytest.raises(UsageError, match=rf"has mAP {right:.2f} on val, results\.json says {right + 1:.2f}"):
        export(run, "onnx", out=tmp_path / "a")
    assert not list(tmp_path.iterdir())


def damaged(sound, tmp_path, spoil):
    folder = shutil.copytree(sound, tmp_path / "damaged")
    path = folder / "model.onnx"
    path.write_bytes(spoil(path.read_bytes()))
    return folder


def test_a_truncated_file_is_refused(sound, tmp_path):
    with pytest.raises(UsageError, match="truncated or replaced"):
        open_artifact(damaged(sound, tmp_path, lambda content: content[:-100]))


def test_a_flipped_bit_is_refused(sound, tmp_path):
    def flip(content):
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]

    with pytest.raises(UsageError, match="was changed since its export"):
        open_artifact(damaged(sound, tmp_path, flip))


@pytest.mark.parametrize("fault", [False, True])
def test_ranges_of_images_unlike_any_are_caught(fault, run, monkeypatch, tmp_path):
    """Calibrated on noise that is next to black, all that is brighter is cut off: the ladder gives int8 up for it.

    The answers to six images of noise are nearly equal, so that their order, and mAP with it, depends on any rounding.
    It is given room: labels that flip tell the sound calibration from the other.
    """
    if fault:
        noise = np.random.default_rng(0).integers(0, 3, (4, 3, 64, 64), dtype=np.uint8)
        monkeypatch.setattr(RunImages, "_calibration", lambda images, count: noise)
    monkeypatch.setattr(run.recipe.export, "max_drop", 50.0)
    monkeypatch.setattr(run.recipe.export, "max_class_drop", 50.0)
    first, *others = Manifest.load(export(run, "onnx", precision="int8", out=tmp_path / "a")).quantization.steps
    if not fault:
        assert (first.passed, first.keep, others) == (True, (), [])
        return
    assert not first.passed
    assert first.reason == "6 of 18 labels flipped, allowed 3 %"
    assert (others[-1].passed, len(others[-1].keep)) == (True, 2)


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_images_of_a_batch_that_are_mixed_up_are_caught(runtime, run, planted, tmp_path):
    """By ONNX Runtime where the file is wrong; by OpenVINO where its CPU plugin adds the bias of the wrong class."""
    if runtime == "openvino":
        pytest.importorskip("openvino")

    def summed(model, image):
        bias = torch.tensor([3.0, -2.0, 1.0])
        weight = torch.linspace(0.5, 1.5, 8)
        spread = (model.logits(image) - bias)[:, :, None] * torch.ones(8)
        return ((spread * weight).sum(-1) / 8 + bias).sigmoid()

    planted(summed if runtime == "openvino" else lambda model, image: model(image.flip(0)))
    # OpenVINO reads the wrong file too, and may differ by more.
    with pytest.raises(MlkdcError, match=r"in batches of (3|8|32) \w+ answers differ .*; export without --dynamic"):
        export(run, "onnx", dynamic=True, out=tmp_path / "a")
    batches = Manifest.load(tmp_path / "a").parity.comparison.batches
    assert {check.batch for check in batches} == {3, 8, 32}
    assert max(check.max_difference_from_single for check in batches if check.runtime == runtime) > 1e-3


@pytest.mark.parametrize("count", [1, 2, 40])
def test_however_few_images_there_are_their_batches_are_full(count, monkeypatch, tmp_path):
    """A batch of one image cannot be mixed up, and says nothing of larger ones."""

    def first_of_each_batch(folder, pixels, *, batch):
        rows = np.arange(len(pixels)) // batch * batch
        return pixels[rows, 0, 0, :3] / np.float32(255)

    monkeypatch.setattr(batches, "answers_of", first_of_each_batch)
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
    (tmp_path / "model.file").write_text("")
    manifest = make_manifest(tmp_path, ["model.file"], target="litert", dynamic_batch=True)
    checked = batches.check_batches(Parity(passed=True), tmp_path, manifest, pixels, tmp_path)
    assert not checked.passed
    assert "images of a batch are mixed up" in checked.reason


def test_a_sound_batch_is_recorded(run, tmp_path):
    batches = Manifest.load(export(run, "onnx", dynamic=True, out=tmp_path / "a")).parity.comparison.batches
    assert ("onnxruntime", 3) in {(check.runtime, check.batch) for check in batches}
    assert max(check.max_difference_from_single for check in batches) < 1e-5


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ("fail to convert", "OpenVINO could not read the file: no rule for Mul"),
        ("fail to run", "OpenVINO could not read the file: the exported model does not run: OpenVINO cannot load"),
        ("fail to import", "OpenVINO could not read the file: this needs OpenVINO, which cannot be imported (broken)"),
    ],
)
def test_that_openvino_cannot_read_a_sound_file_is_noted(does, said, run, monkeypatch, tmp_path):
    openvino = pytest.importorskip("openvino")

    def fail(model, *rest, **more):
        raise RuntimeError("Check failed at some_source.cpp:1\nno rule for Mul")

    def save_damaged(model, path, **options):
        path.write_text("<net/>")
        path.with_suffix(".bin").write_bytes(b"")

    def not_importable():
        raise import_error("OpenVINO", ImportError("broken"), "openvino-runtime")

    if does == "fail to convert":
        monkeypatch.setattr(openvino, "convert_model", fail)
    if does == "fail to run":
        monkeypatch.setattr(openvino, "save_model", save_damaged)
    if does == "fail to import":
        monkeypatch.setattr(batches, "load_openvino", not_importable)
    manifest = Manifest.load(export(run, "onnx", dynamic=True, out=tmp_path / "a"))
    assert manifest.status == "ok"
    assert {check.runtime for check in manifest.parity.comparison.batches} == {"onnxruntime"}
    assert manifest.parity.comparison.note.startswith(said)
    assert manifest.parity.comparison.note in artifact_lines(manifest)
