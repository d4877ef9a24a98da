"""Images and answers that stay in the run folder for devices."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from mlkdc.errors import UsageError
from mlkdc.exporting.identity import checked_answers
from mlkdc.exporting.kept import keep_answers
from mlkdc.exporting.reference import make_reference
from mlkdc.records.answers import ANSWERS_FILE, KnownAnswers


@pytest.fixture
def run(make_run, wrap):
    return make_run(wrap(nn.Conv2d(3, 8, 3), channels=8))


@pytest.fixture
def reference(run):
    return make_reference(run.model, run.data, ("train",))


def test_they_are_what_the_model_answers_and_their_size_is_said(run, reference, monkeypatch):
    monkeypatch.setattr(run.recipe.export, "keep_images", 4)
    lines = []
    keep_answers(run, run.model, reference, lines.append)
    known = KnownAnswers.load(run.path)
    assert known.pixels.shape == (4, 3, 64, 64)
    with torch.no_grad():
        expected = run.model(torch.from_numpy(known.pixels).float()).sigmoid().numpy()
    np.testing.assert_allclose(known.probabilities, expected, rtol=0, atol=1e-6)
    assert np.array_equal(known.targets, run.data.targets("val")[[0, 2, 3, 5]])
    size = (run.path / ANSWERS_FILE).stat().st_size
    assert lines == [
        f"  kept 4 images and the torch model's answers for devices: {run.path / ANSWERS_FILE}, {size / 1e6:.1f} MB"
    ]


def test_all_are_kept_where_there_are_few_and_none_where_none_are_wanted(run, reference, monkeypatch):
    keep_answers(run, run.model, reference, lambda text: None)
    assert len(KnownAnswers.load(run.path).pixels) == 6
    before = (run.path / ANSWERS_FILE).stat().st_mtime_ns
    keep_answers(run, run.model, reference, lambda text: None)
    assert (run.path / ANSWERS_FILE).stat().st_mtime_ns == before
    (run.path / ANSWERS_FILE).unlink()
    monkeypatch.setattr(run.recipe.export, "keep_images", 0)
    keep_answers(run, run.model, reference, lambda text: None)
    assert not (run.path / ANSWERS_FILE).exists()


@pytest.mark.parametrize("change", ["size", "classes", "answers", "nan", "damaged"])
def test_those_of_another_model_are_replaced(run, reference, change):
    pixels, probabilities, targets = reference.pixels, reference.probabilities, reference.targets
    if change == "size":
        pixels = pixels[..., :32, :32]
    if change == "answers":
        probabilities = 1 - probabilities
    if change == "nan":
        probabilities = np.full_like(probabilities, np.nan)
    if change == "classes":
        probabilities, targets = probabilities[:, :2], targets[:, :2]
    path = KnownAnswers(pixels, probabilities, targets).save(run.path)
    if change == "damaged":
        path.write_bytes(b"no archive")
    keep_answers(run, run.model, reference, lambda text: None)
    known = KnownAnswers.load(run.path)
    assert np.array_equal(known.pixels, reference.pixels)
    assert np.array_equal(known.probabilities, reference.probabilities)


@pytest.mark.parametrize(("difference", "same"), [(0.009, True), (0.011, False)])
def test_one_probability_that_differs_by_more_than_machines_do_is_of_another_model(run, reference, difference, same):
    kept = reference.probabilities.copy()
    kept[2, 1] += difference
    known = KnownAnswers(reference.pixels, kept, reference.targets)
    if same:
        np.testing.assert_allclose(checked_answers(run, run.model, known), reference.probabilities, rtol=0, atol=1e-6)
    else:
        with pytest.raises(UsageError, match=r"a probability differs by 0\.011"):
            checked_answers(run, run.model, known)


def test_what_cannot_be_right_is_refused(run, reference, tmp_path):
    good = KnownAnswers(reference.pixels, reference.probabilities, reference.targets)
    with pytest.raises(
        UsageError, match=r"parity\.npz is missing; .*, which writes it unless export\.keep_images .* is 0"
    ):
        KnownAnswers.load(tmp_path)
    for change, message in (
        ({"pixels": reference.pixels[:2]}, "do not belong together"),
        ({"targets": reference.targets[:, :2]}, "do not belong together"),
        ({"probabilities": reference.probabilities.astype(np.float64)}, "expected probabilities as float32"),
        ({"pixels": reference.pixels[0]}, "expected pixels as uint8 with 4 axes"),
    ):
        dataclasses.replace(good, **change).save(tmp_path)
        with pytest.raises(UsageError, match=message):
            KnownAnswers.load(tmp_path)
    path = good.save(tmp_path)
    content = path.read_bytes()
    for damaged in (b"", b"no archive", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="is damaged") as caught:
            KnownAnswers.load(tmp_path)
        assert "allow_pickle" not in str(caught.value)
    np.savez(path, pixels=reference.pixels)
    with pytest.raises(UsageError, match="is damaged"):
        KnownAnswers.load(tmp_path)
