"""Is the model the one that was scored: on a split of many images, on one that is not there."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from torch import nn

from mlkdc.errors import UsageError
from mlkdc.exporting import identity
from mlkdc.exporting.known import RunImages
from mlkdc.train.input.store import images_for
from mlkdc.train.predict import predict
from mlkdc.types import Sample


@pytest.fixture
def large(make_run, wrap, tmp_path, monkeypatch):
    """A run of a few images that count as many; a label is the half of them in which the model sees it most."""
    monkeypatch.setattr(identity, "MOST_IMAGES", 20)
    monkeypatch.setattr(identity, "SUBSET_POSITIVES", 5)
    run = make_run(wrap(nn.Conv2d(3, 8, 3), channels=8))
    samples, random = [], np.random.default_rng(0)
    for index in range(40):
        path = tmp_path / f"{index}.png"
        Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8)).save(path)
        samples.append(Sample(path, (), "val"))
    answers = predict(run.model, images_for(run.model.preprocess, samples))
    given = answers >= np.median(answers, axis=0)
    for index, row in enumerate(given):
        samples[index] = dataclasses.replace(samples[index], labels=tuple(np.flatnonzero(row)))
    run.data, run.weights_sha256 = dataclasses.replace(run.data, samples=tuple(samples)), "known"
    assert run.map_percent == 100
    return run


def checked(run, samples=None):
    """The lines said of a run whose data, since it was scored, has become these samples."""
    if samples is not None:
        run.data = dataclasses.replace(run.data, samples=tuple(samples))
    lines = []
    assert len(RunImages(run, run.model, lines.append).reference.targets)
    return lines


def test_of_a_large_split_some_images_are_answered(large, monkeypatch):
    sizes = []
    monkeypatch.setattr(identity, "predict", lambda model, store: sizes.append(len(store)) or predict(model, store))
    checked(large)
    assert sizes == [20]


def test_a_large_split_with_other_labels_is_refused(large):
    others = []
    for sample in large.data.samples:
        labels = tuple(label for label in range(3) if label not in sample.labels)
        others.append(dataclasses.replace(sample, labels=labels))
    with pytest.raises(
        UsageError, match=r"has mAP \d+\.\d\d on 20 images of val, over 3 frequent classes, results\.json says 100\.00"
    ):
        checked(large, others)


def test_a_split_that_is_not_there_is_said(large):
    lines = checked(large, [dataclasses.replace(sample, split="test") for sample in large.data.samples])
    assert any("has no image of val, which results.json scored: the model's mAP there was" in line for line in lines)
