"""Quantization-aware fine-tuning: of a run of seconds, whose model loses where it is rounded to few steps."""

import copy
import json
from types import SimpleNamespace

import numpy as np
import phone
import pytest
import torch
from samples import write_photos
from sklearn.metrics import average_precision_score
from tiny_training import tiny_recipe

from mlkdc import distill, open_artifact
from mlkdc.errors import UsageError
from mlkdc.exporting import ExportOptions
from mlkdc.exporting.artifact import export_artifact
from mlkdc.exporting.builder import Builder
from mlkdc.exporting.int8.finetune import Merged, check, fine_tune, gathered_bias, rounding
from mlkdc.exporting.int8.quantizer import Quantizer
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.merge import merge
from mlkdc.exporting.request import make_request
from mlkdc.recipe import Distill
from mlkdc.records.manifest import Manifest
from mlkdc.records.results import METRICS_FILE

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
# Of four bits, where int8 has 127.
STEPS = 7


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A student with its teacher, which finds most of the labels."""
    home = tmp_path_factory.mktemp("fine-tuning")
    train = {"epochs": 6, "batch_size": 8, "optimizer": "adamw", "lr": 0.01}
    return distill(tiny_recipe(write_photos(home / "photos", count=160), train=train), out=home / "run")


@pytest.fixture
def builder(run, tmp_path):
    request = make_request(run, ExportOptions(target="onnx", precision="int8", qat_epochs=2, out=tmp_path / "out"))
    (tmp_path / "scratch").mkdir()
    return Builder(request, tmp_path / "scratch", say=lambda text: None)


def map_of(model, reference):
    with torch.no_grad():
        probabilities = model(torch.from_numpy(reference.pixels)).numpy()
    return 100 * average_precision_score(reference.targets, probabilities, average="macro")


def test_fine_tuning_wins_back_what_rounding_costs(builder):
    images, reference = Quantizer(builder).images, builder.reference
    how = Quantization(images, weight_steps=STEPS, depthwise_steps=STEPS)
    before = {name: value.clone() for name, value in builder.merged.state_dict().items()}
    exact = map_of(builder.merged, reference)
    with rounding(builder.merged, images, how):
        rounded = map_of(builder.merged, reference)
    assert rounded < exact - 1
    tuned = fine_tune(builder, how, 2)
    with rounding(tuned, images, how):
        recovered = map_of(tuned, reference)
    assert recovered > rounded + 0.5
    # What it began with is left as it was, and what came of it is a merged model in every other way.
    after = builder.merged.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert tuned.state_dict().keys() == before.keys()
    assert not any(parameter.requires_grad for parameter in tuned.parameters())
    assert not tuned.training


def test_it_is_the_last_step_and_said(run, tmp_path, monkeypatch):
    """All other steps are made to fail; on few images a flipped label or two would fail this one too."""
    make = Builder.build

    def build(builder, how):
        folder, manifest = make(builder, how)
        passed = how.fine_tuned
        parity = manifest.parity.model_copy(update={"passed": passed, "reason": None if passed else "a test"})
        return folder, manifest.compared(parity, "ok" if passed else "failed")

    monkeypatch.setattr(Builder, "build", build)
    options = ExportOptions(
        target="onnx",
        precision="int8",
        qat_epochs=1,
        fast=True,
        max_map_drop_points=50,
        max_class_drop_points=100,
        out=tmp_path / "artifact",
    )
    lines = []
    folder = export_artifact(run, options, say=lines.append)
    manifest = Manifest.load(folder)
    report = manifest.quantization
    assert manifest.status == "ok"
    assert (report.steps[-1].step, report.chosen) == ("fine-tuned", "fine-tuned")
    assert not any(step.passed for step in report.steps[:-1])
    assert "  int8: fine-tuning, as no step holds its limits" in lines
    assert (report.fine_tuning.epochs, report.fine_tuning.split) == (1, "val")
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert f"| weights | {report.fine_tuning.sentence()} |" in text
    assert "so the weights are not those that results.json scored; mAP of the fine-tuned model in float" in text
    assert "the thresholds are the run's, which it was judged with" in text
    assert manifest.thresholds == run.results.thresholds
    # The artifact answers like the fine-tuned model, whose mAP is said.
    builder = Builder(make_request(run, options), tmp_path, say=lines.append)
    with open_artifact(folder) as session:
        answers = np.concatenate(
            [session.predict(image[None].astype(np.float32)) for image in builder.reference.pixels]
        )
    actual = 100 * average_precision_score(builder.reference.targets, answers, average="macro")
    assert actual == pytest.approx(report.fine_tuning.map_percent, abs=3)


def test_the_recipe_and_the_options_say_how_long(run):
    def epochs(precision="int8", **options):
        return make_request(run, ExportOptions(target="onnx", precision=precision, **options)).qat_epochs

    assert epochs() == 0
    assert epochs(qat_epochs=2) == 2
    assert epochs("fp32", qat_epochs=2) == 0


def test_a_merged_model_is_trained_as_it_is_exported(student, framed_noise):
    model = student("mobilenetv2")
    merged = merge(model, framed_noise.shape[-1])[0]
    with torch.no_grad():
        torch.testing.assert_close(Merged(merged, model.preprocess).eval()(framed_noise), merged.logits(framed_noise))


@pytest.mark.parametrize("kind", ["decoder", "compact", "linear"])
def test_a_step_moves_a_decoders_bias_as_far_as_any_other(kind):
    """In a folded decoder it is a sum of 16 parts."""
    model = merge(phone.make_trained(kind), phone.SIZE)[0].requires_grad_(True)
    before = copy.deepcopy(model.state_dict())
    features = torch.zeros(1, 8, 4, 4)
    expected = model.head(features).logits
    rate = 0.01
    with gathered_bias(model):
        logits = model.head(features).logits
        torch.testing.assert_close(logits, expected)
        biases = [tensor for name, tensor in model.head.named_parameters() if "bias" in name and len(tensor) == 3]
        optimizer = torch.optim.Adam(biases, lr=rate)
        logits.sum().backward()
        optimizer.step()
    torch.testing.assert_close(model.head(features).logits, expected - rate)
    assert model.state_dict().keys() == before.keys()
    assert all(value.shape == before[name].shape for name, value in model.state_dict().items())


def test_terms_whose_layers_are_not_kept_are_left_out(tmp_path):
    distillation = {
        "method": "hint",
        "terms": {"hint": 5, "mse": 1},
        "balance": {"bce": 0.3, "mld": 0.2, "mse": 0.1},
        "ramp": 0.5,
    }
    run = distill(tiny_recipe(write_photos(tmp_path / "photos", count=40), distill=distillation), out=tmp_path / "run")
    check(run)
    (tmp_path / "scratch").mkdir()
    lines = []
    request = make_request(run, ExportOptions(target="onnx", precision="int8", qat_epochs=1, out=tmp_path / "out"))
    builder = Builder(request, tmp_path / "scratch", say=lines.append)
    quantizer = Quantizer(builder)
    builder.tuned = fine_tune(builder, Quantization(quantizer.images), 1)
    trained = json.loads((tmp_path / "scratch" / "fine-tuning" / METRICS_FILE).read_text(encoding="utf-8"))
    assert sorted(trained["terms"]) == ["bce", "mld", "mse"]
    assert "  fine-tuned without hint: a finished run does not keep its layers" in lines
    before, after = builder.merged.state_dict(), builder.tuned.state_dict()
    assert not all(torch.equal(value, after[name]) for name, value in before.items())
    told = quantizer._fine_tuning()
    assert told.without == ("hint",)
    assert "for 1 epoch without hint, so the weights are not those" in told.sentence()


def test_what_cannot_be_trained_on_is_said(run):
    check(run)

    def orphan(**distillation):
        recipe = run.recipe.model_copy(update={"distill": Distill(**distillation)})
        facts = run.results.teacher.model_copy(update={"run": "gone/teacher"})
        return SimpleNamespace(path=run.path, recipe=recipe, results=SimpleNamespace(teacher=facts))

    with pytest.raises(UsageError, match=r"needs the run's teacher, and gone/teacher is not there; .*--qat-epochs 0"):
        check(orphan(method="hint"))
    check(orphan(method="reviewkd"))  # what is left of it needs no teacher
    with pytest.raises(UsageError, match=r"reviewkd trained layers along, .* no other term"):
        check(orphan(method="reviewkd", terms={"bce": 0}))
    data = run.recipe.data.model_copy(update={"path": "gone/photos"})
    moved = SimpleNamespace(recipe=run.recipe.model_copy(update={"data": data}), path=run.path, results=run.results)
    with pytest.raises(UsageError, match=r"needs the run's data, and gone/photos is not there; .*--data PATH"):
        check(moved)
    check(moved, moved_to="here/photos")
