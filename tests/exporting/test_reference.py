"""Which images an artifact is compared on, and what the torch model answers to them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mlkdc.errors import UsageError
from mlkdc.exporting import reference as module
from mlkdc.exporting.known import RunImages
from mlkdc.exporting.reference import make_reference
from mlkdc.images import load_square


@pytest.fixture
def run(make_run, wrap):
    return make_run(wrap(nn.Conv2d(3, 8, 3), channels=8))


def refer(run, trained=("train",), **changes):
    return make_reference(run.model, replace(run.data, **changes), trained)


def test_the_images_are_the_validation_split_and_both_see_the_same(run):
    actual = refer(run)
    expected = [load_square(sample.image, 64).transpose(2, 0, 1) for sample in run.data.split("val")]
    assert np.array_equal(actual.pixels, expected)
    assert np.array_equal(actual.targets, run.data.targets("val"))
    assert actual.split == "val"
    with torch.no_grad():
        logits = run.model(torch.from_numpy(np.stack(expected)).float())
    np.testing.assert_allclose(actual.probabilities, logits.sigmoid(), atol=1e-6)


def test_many_images_are_spread_over_the_split(run, monkeypatch):
    monkeypatch.setattr(module, "IMAGES", 3)
    monkeypatch.setattr(module, "LEAST_POSITIVES", 0)
    actual = refer(run)
    assert len(actual.pixels) == 3
    assert np.array_equal(actual.targets, run.data.targets("val")[[0, 2, 5]])


def test_a_rare_label_keeps_its_images(run, monkeypatch):
    monkeypatch.setattr(module, "IMAGES", 2)
    monkeypatch.setattr(module, "LEAST_POSITIVES", 1)
    samples = [replace(sample, labels=(0,) if index == 2 else ()) for index, sample in enumerate(run.data.split("val"))]
    actual = refer(run, samples=tuple(samples))
    assert actual.targets.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_an_image_that_cannot_be_read_is_named(run, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    samples = list(run.data.samples)
    samples[1] = replace(samples[1], image=bad)
    with pytest.raises(UsageError, match=r"bad\.png: not an image"):
        refer(run, samples=tuple(samples))


def test_a_validation_split_that_was_trained_on_is_skipped(run):
    test = tuple(replace(sample, split="test") for sample in run.data.split("val"))
    both = run.data.samples + test
    assert refer(run, samples=both).split == "val"
    assert refer(run, ("train", "val"), samples=both).split == "test"


def test_without_validation_images_the_test_split_is_taken(run):
    samples = tuple(replace(sample, split="test") for sample in run.data.split("val"))
    assert refer(run, samples=samples).split == "test"
    with pytest.raises(UsageError, match="no usable image"):
        refer(run, samples=())


def test_images_to_calibrate_on_are_drawn_from_the_training_split(run):
    pixels, facts = RunImages(run, run.model, lambda line: None).calibration(3)
    train = [load_square(sample.image, 64).transpose(2, 0, 1) for sample in run.data.split("train")]
    drawn = sorted(np.random.default_rng(facts.seed).permutation(6)[:3])
    assert drawn != [0, 1, 2]
    assert np.array_equal(pixels, [train[row] for row in drawn])
    assert (facts.images, facts.split) == (3, "train")
