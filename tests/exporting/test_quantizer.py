"""What a quantizer begins with; and of several attempts the files that were compared and chosen are the artifact's."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from mlkdc import export
from mlkdc.exporting import builder as builder_module
from mlkdc.exporting.builder import Builder
from mlkdc.exporting.int8 import quantizer
from mlkdc.exporting.int8.guard import Climbed
from mlkdc.exporting.int8.quantizer import Quantizer, thresholds_of
from mlkdc.exporting.job import Quantization
from mlkdc.records.manifest import Manifest
from mlkdc.runtime.targets import load_target


@pytest.fixture
def made(monkeypatch):
    """The model's bytes of each attempt, of which two are made with different settings, in the order they are made."""
    attempts = []
    build = Builder.build

    def remembering(builder, how):
        folder, manifest = build(builder, how)
        attempts.append((folder / "model.onnx").read_bytes())
        return folder, manifest

    monkeypatch.setattr(Builder, "build", remembering)
    return attempts


@pytest.mark.parametrize("chosen", [0, 1])
def test_the_chosen_attempt_is_not_made_again(make_run, wrap, made, chosen, monkeypatch, tmp_path):
    def both(ladder):
        settings = [ladder.first, replace(ladder.first, per_channel=False)]
        for how in settings:
            ladder.build(how)
        return Climbed(settings[chosen], "chosen", (), ())

    monkeypatch.setattr(quantizer, "climb", both)
    run, limits = make_run(wrap(nn.Conv2d(3, 8, 3), channels=8)), {"max_drop": 100, "max_class_drop": 100}
    folder = export(run, "onnx", precision="int8", out=tmp_path / "out", **limits)
    assert len(made) == 2
    assert made[0] != made[1]
    assert (folder / "model.onnx").read_bytes() == made[chosen]
    assert Manifest.load(folder).quantization.chosen == "chosen"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def builder(images=4, branches=0, **request):
    """What a quantizer looks at before it makes anything."""
    recipe = SimpleNamespace(export=SimpleNamespace(calibration=images))
    asked = {"run": SimpleNamespace(recipe=recipe), "qat_epochs": 0, "equalize": None, "reduce_range": False}
    return SimpleNamespace(
        request=SimpleNamespace(**{**asked, **request}),
        images=SimpleNamespace(calibration=lambda count: (np.arange(count), None)),
        report=SimpleNamespace(branches=branches),
        merged=None,
        say=lambda line: None,
        size=96,
    )


@pytest.mark.parametrize(
    ("asked", "branches", "done"),
    [(None, 0, False), (None, 3, True), (True, 0, True), (False, 3, False)],
)
def test_layers_are_equalized_where_that_is_asked_or_branches_were_merged(asked, branches, done, monkeypatch):
    equalized = []
    monkeypatch.setattr(quantizer, "equalize", lambda model, image: equalized.append(model) or 1)
    assert Quantizer(builder(branches=branches, equalize=asked)).equalizes is done
    assert len(equalized) == done


@pytest.mark.parametrize(("images", "unseen"), [(200, range(64, 128)), (128, range(64, 128)), (100, range(36, 100))])
def test_a_simulation_is_judged_on_images_that_biases_were_not_corrected_on(images, unseen, monkeypatch):
    monkeypatch.setattr(quantizer, "Simulation", lambda model, unseen, corrected_on: (unseen, corrected_on))
    judged, corrected_on = Quantizer(builder(images))._simulation
    assert judged.tolist() == list(unseen)
    assert corrected_on.tolist() == list(range(64))


@pytest.mark.parametrize(("name", "steps", "depthwise_steps"), [("onnx", 64, 64), ("openvino", 63.5, 127)])
def test_half_of_the_range_is_halved_as_the_targets_quantizer_does(name, steps, depthwise_steps):
    target = load_target(name)
    whole = Quantizer(builder(target=target))._first()
    assert (whole.reduce_range, whole.weight_steps, whole.depthwise_steps) == (False, 127, 127)
    half = Quantizer(builder(target=target, reduce_range=True))._first()
    assert (half.reduce_range, half.weight_steps, half.depthwise_steps) == (True, steps, depthwise_steps)


def test_thresholds_go_with_the_names_of_labels():
    run = SimpleNamespace(classes=("cat", "dog", "bird"), results=SimpleNamespace(thresholds=(0.2, 0.4, 0.6)))
    asked = SimpleNamespace(request=SimpleNamespace(run=run), reference=SimpleNamespace(classes=("bird", "cat", "dog")))
    assert thresholds_of(asked).tolist() == [0.6, 0.2, 0.4]


def test_biases_are_corrected_in_a_copy_by_the_images_that_are_enough(monkeypatch, tmp_path):
    """The next attempt begins with the merged model as it was."""
    seen = []

    def correct(model, images, how):
        seen.append(len(images))
        model.bias.data.add_(1)

    monkeypatch.setattr(builder_module, "correct_biases", correct)
    asked = {"target": None, "precision": "int8", "input_dtype": "uint8", "dynamic": False}
    request = SimpleNamespace(run=SimpleNamespace(classes=("cat", "dog")), **asked)
    attributes = {"tuned": None, "size": 96, "_metadata": dict, "_converted": None}
    stub = SimpleNamespace(merged=nn.Conv2d(3, 2, 1), request=request, **attributes)
    before = stub.merged.bias.detach().clone()
    how = Quantization(np.zeros((100, 3, 8, 8), dtype=np.uint8), correct_biases=True)
    job = Builder._job(stub, how, tmp_path)
    assert seen == [64]
    assert torch.equal(job.model.bias, before + 1)
    assert torch.equal(stub.merged.bias, before)
