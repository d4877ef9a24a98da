from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import nn

from mlkdc.errors import UsageError
from mlkdc.exporting import parity as comparing
from mlkdc.exporting.parity import ROUNDING, Reference, compare, make_reference
from mlkdc.images import load_square
from mlkdc.runtime.targets import Tolerance

STRICT = Tolerance(probability=1e-4, label_flips=0, map=0.1, class_ap=1)
LOOSE = Tolerance(probability=1, label_flips=100, map=100, class_ap=100)
TARGETS = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], dtype=np.uint8)
TORCH = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.7], [0.1, 0.3]], dtype=np.float32)
THRESHOLDS = np.array([0.5, 0.5])


def parity(artifact, tolerance=STRICT, original=TORCH):
    reference = Reference("val", ["cat", "dog"], TARGETS, np.zeros((4, 3, 8, 8), dtype=np.uint8), original)
    return compare(reference, np.asarray(artifact, dtype=np.float32), THRESHOLDS, tolerance)


def test_equal_answers_pass():
    found = parity(TORCH)
    assert found["passed"]
    assert found["reason"] is None
    assert (found["images"], found["split"], found["max_probability_difference"]) == (4, "val", 0)
    assert found["mAP_torch"] == found["mAP_artifact"] == 100


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
    found = parity(changed, STRICT, original)
    assert (found["label_flips"], found["label_flips_by_rounding"]) == (1, 1)
    assert not found["passed"]
    changed[2, 1] = original[2, 1]
    assert parity(changed, STRICT, original)["passed"]
    # A target that tolerates more than rounding has no such excuse.
    found = parity(changed, LOOSE.model_copy(update={"label_flips": 0}), original)
    assert (found["label_flips"], found["label_flips_by_rounding"], found["passed"]) == (1, 0, False)


def test_another_order_of_equal_answers_does_not_fail_an_export():
    original = 0.5 + np.float32([[0, 0], [0, 0], [1, 1], [0, 0]]) * ROUNDING / 4
    changed = 0.5 + np.float32([[1, 1], [1, 1], [0, 0], [0, 0]]) * ROUNDING / 4
    found = parity(changed, STRICT, original)
    assert abs(found["mAP_torch"] - found["mAP_artifact"]) > 1
    assert found["mAP_drop"] == found["worst_class_drop"] == 0
    assert found["passed"]
    # Where more than rounding is tolerated, the fall is that of the answers as they are.
    found = parity(changed, LOOSE.model_copy(update={"map": 0.5}), original)
    assert found["mAP_drop"] == found["mAP_torch"] - found["mAP_artifact"] > 1
    assert not found["passed"]


def test_a_fall_of_map_is_told():
    changed = TORCH.copy()
    changed[:, 0] = changed[::-1, 0]
    found = parity(changed, LOOSE.model_copy(update={"map": 1}))
    # Precision at each positive of class 0, from its definition; class 1 is still perfect.
    order = np.argsort(-changed[:, 0])
    hits = TARGETS[order, 0]
    expected = np.mean([hits[: k + 1].mean() for k in np.flatnonzero(hits)])
    assert found["mAP_artifact"] == pytest.approx(100 * (expected + 1) / 2)
    assert f"mAP {found['mAP_artifact']:.2f} against 100.00, allowed fall 1" in found["reason"]


def test_nan_fails_however_loose_the_tolerance():
    changed = TORCH.copy()
    changed[0, 0] = np.nan
    found = parity(changed, LOOSE)
    assert not found["passed"]
    assert "NaN" in found["reason"]
    assert found["max_probability_difference"] is None


def test_a_gain_of_map_is_no_fault():
    changed = TORCH.copy()
    changed[:, 0] = changed[::-1, 0]
    found = parity(TORCH, LOOSE.model_copy(update={"map": 0, "class_ap": 0}), original=changed)
    assert found["mAP_drop"] < 0
    assert found["worst_class_drop"] <= 0
    assert found["passed"]


def test_the_worst_class_is_found_among_those_with_enough_positives():
    random = np.random.default_rng(0)
    targets = (random.random((60, 4)) < 0.4).astype(np.uint8)
    targets[:, 3] = 0
    targets[:5, 3] = 1  # too few to be judged
    original = (0.3 * random.random((60, 4)) + 0.6 * targets).astype(np.float32)
    changed = original.copy()
    changed[:, 1] = random.random(60)
    changed[:, 2] = 0.5 * changed[:, 2] + 0.5 * random.random(60)
    changed[:, 3] = 1 - changed[:, 3]
    reference = Reference("val", list("abcd"), targets, np.zeros((60, 3, 8, 8), dtype=np.uint8), original)
    found = compare(reference, changed, np.full(4, 0.5), LOOSE.model_copy(update={"class_ap": 10}))
    falls = [
        100 * (average_precision_score(t, first) - average_precision_score(t, second))
        for t, first, second in zip(targets.T, original.T, changed.T, strict=True)
    ]
    assert max(falls[:3]) == falls[1] < falls[3]
    assert (found["worst_class"], found["classes_judged"]) == ("b", 3)
    assert found["worst_class_drop"] == pytest.approx(falls[1], abs=1e-4)
    assert f"AP of b fell by {falls[1]:.2f}, allowed 10" in found["reason"]


@pytest.fixture
def run(make_run, wrap):
    return make_run(wrap(nn.Conv2d(3, 8, 3), channels=8))


def ask(run, trained=("train",), **changes):
    return make_reference(run.model(), replace(run.images, **changes), trained)


def test_the_pictures_are_the_validation_split_and_both_see_the_same(run):
    found = ask(run)
    expected = [load_square(sample.image, 64).transpose(2, 0, 1) for sample in run.images.split("val")]
    assert np.array_equal(found.pixels, expected)
    assert np.array_equal(found.targets, run.images.targets("val"))
    assert found.split == "val"
    with torch.no_grad():
        logits = run.model()(torch.from_numpy(np.stack(expected)).float())
    np.testing.assert_allclose(found.torch, logits.sigmoid(), atol=1e-6)


def test_many_pictures_are_spread_over_the_split(run, monkeypatch):
    monkeypatch.setattr(comparing, "IMAGES", 3)
    monkeypatch.setattr(comparing, "LEAST_POSITIVES", 0)
    found = ask(run)
    assert len(found.pixels) == 3
    assert np.array_equal(found.targets, run.images.targets("val")[[0, 2, 5]])


def test_a_rare_label_keeps_its_pictures(run, monkeypatch):
    monkeypatch.setattr(comparing, "IMAGES", 2)
    monkeypatch.setattr(comparing, "LEAST_POSITIVES", 1)
    samples = [
        replace(sample, labels=(0,) if index == 2 else ()) for index, sample in enumerate(run.images.split("val"))
    ]
    found = ask(run, samples=tuple(samples))
    assert found.targets.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_a_picture_that_cannot_be_read_is_named(run, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    samples = list(run.images.samples)
    samples[1] = replace(samples[1], image=bad)
    with pytest.raises(UsageError, match=r"bad\.png: not an image"):
        ask(run, samples=tuple(samples))


def test_a_validation_split_that_was_trained_on_is_passed_over(run):
    test = tuple(replace(sample, split="test") for sample in run.images.split("val"))
    both = run.images.samples + test
    assert ask(run, samples=both).split == "val"
    assert ask(run, ("train", "val"), samples=both).split == "test"


def test_without_validation_pictures_the_test_split_is_taken(run):
    samples = tuple(replace(sample, split="test") for sample in run.images.split("val"))
    assert ask(run, samples=samples).split == "test"
    with pytest.raises(UsageError, match="no usable image"):
        ask(run, samples=())
