from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from mlkdc.errors import UsageError
from mlkdc.export import parity as comparing
from mlkdc.export.parity import ROUNDING, Answers, compare
from mlkdc.export.targets import Tolerance
from mlkdc.images import load_square

STRICT = Tolerance(probability=1e-4, label_flips=0, map=0.1)
LOOSE = Tolerance(probability=1, label_flips=100, map=100)
TARGETS = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], dtype=np.uint8)
TORCH = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.7], [0.1, 0.3]], dtype=np.float32)
THRESHOLDS = np.array([0.5, 0.5])


def parity(artefact, tolerance=STRICT, original=TORCH):
    return compare(Answers("val", TARGETS, original, np.asarray(artefact, dtype=np.float32)), THRESHOLDS, tolerance)


def test_equal_answers_pass():
    found = parity(TORCH)
    assert found["passed"]
    assert found["reason"] is None
    assert (found["images"], found["split"], found["max_probability_difference"]) == (4, "val", 0)
    assert found["mAP_torch"] == found["mAP_artefact"] == 100


def test_a_difference_is_told_with_its_size():
    changed = TORCH.copy()
    changed[2, 1] += 0.01
    found = parity(changed)
    assert not found["passed"]
    assert found["max_probability_difference"] == pytest.approx(0.01, abs=1e-6)
    assert "largest probability difference 0.01, allowed 0.0001" in found["reason"]


def test_label_flips_are_counted_against_their_own_tolerance():
    changed = TORCH.copy()
    changed[2, 0], changed[0, 1] = 0.45, 0.55
    tolerance = LOOSE.model_copy(update={"label_flips": 20})
    found = parity(changed, tolerance)
    assert found["label_flips"] == 2
    assert "2 of 8 labels flipped, allowed 20 %" in found["reason"]
    assert parity(changed, LOOSE.model_copy(update={"label_flips": 25}))["passed"]


def test_a_flip_by_rounding_is_counted_apart():
    original = TORCH.copy()
    original[2] = 0.5 - ROUNDING / 4, 0.5 - ROUNDING / 4
    changed = original.copy()
    changed[2] = 0.5 + ROUNDING / 4, 0.6
    found = parity(changed, LOOSE.model_copy(update={"label_flips": 0}), original)
    assert (found["label_flips"], found["label_flips_by_rounding"]) == (1, 1)
    assert not found["passed"]


def test_another_order_of_equal_answers_does_not_fail_an_export():
    original = 0.5 + np.float32([[0, 0], [0, 0], [1, 1], [0, 0]]) * ROUNDING / 4
    changed = 0.5 + np.float32([[1, 1], [1, 1], [0, 0], [0, 0]]) * ROUNDING / 4
    found = parity(changed, STRICT, original)
    assert found["mAP_difference"] > 1
    assert found["mAP_difference_beyond_rounding"] == 0
    assert found["passed"]


def test_a_fall_of_map_is_told():
    changed = TORCH.copy()
    changed[:, 0] = changed[::-1, 0]
    found = parity(changed, LOOSE.model_copy(update={"map": 1}))
    # Precision at each positive of class 0, from its definition; class 1 is still perfect.
    order = np.argsort(-changed[:, 0])
    hits = TARGETS[order, 0]
    expected = np.mean([hits[: k + 1].mean() for k in np.flatnonzero(hits)])
    assert found["mAP_artefact"] == pytest.approx(100 * (expected + 1) / 2)
    assert f"mAP {found['mAP_artefact']:.2f} against 100.00, allowed difference 1" in found["reason"]


def test_nan_fails_however_loose_the_tolerance():
    changed = TORCH.copy()
    changed[0, 0] = np.nan
    found = parity(changed, LOOSE)
    assert not found["passed"]
    assert "NaN" in found["reason"]
    assert found["max_probability_difference"] is None


@pytest.fixture
def asked(make_run, wrap, tmp_path, monkeypatch):
    """Ask both models about a run's pictures, without an artefact; returns the answers and the pictures shown."""
    run = make_run(wrap(nn.Conv2d(3, 8, 3), channels=8))

    def ask(leave_out=(), **changes):
        shown = []
        monkeypatch.setattr(comparing, "_run", lambda artefact, pixels, scratch: shown.extend(pixels))
        data = replace(run.images, **changes)
        return comparing.ask_both(tmp_path, run.model(), data, leave_out, tmp_path), shown

    return run, ask


def test_the_pictures_are_the_validation_split_and_both_see_the_same(asked):
    run, ask = asked
    found, shown = ask()
    expected = [load_square(sample.image, 64).transpose(2, 0, 1) for sample in run.images.split("val")]
    assert np.array_equal(shown, expected)
    assert np.array_equal(found.targets, run.images.targets("val"))
    assert found.split == "val"
    with torch.no_grad():
        logits = run.model()(torch.from_numpy(np.stack(expected)).float())
    np.testing.assert_allclose(found.torch, logits.sigmoid(), atol=1e-6)


def test_many_pictures_are_spread_over_the_split(asked, monkeypatch):
    monkeypatch.setattr(comparing, "IMAGES", 3)
    run, ask = asked
    found, shown = ask()
    assert len(shown) == 3
    assert np.array_equal(found.targets, run.images.targets("val")[[0, 2, 5]])


def test_pictures_that_training_left_out_are_left_out_here(asked, tmp_path):
    run, ask = asked
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    samples = list(run.images.samples)
    samples[1] = replace(samples[1], image=bad)
    with pytest.raises(UsageError, match=r"bad\.png: not an image"):
        ask(samples=tuple(samples))
    found, shown = ask([str(bad)], samples=tuple(samples))
    assert len(shown) == len(found.targets) == 5


def test_without_validation_pictures_the_test_split_is_taken(asked):
    run, ask = asked
    samples = tuple(replace(sample, split="test") for sample in run.images.split("val"))
    assert ask(samples=samples)[0].split == "test"
    with pytest.raises(UsageError, match="no usable image"):
        ask(samples=())
