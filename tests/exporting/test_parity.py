"""The verdict on an artifact's answers, against scikit-learn and definitions."""

import numpy as np
import pytest
from samples import make_manifest
from sklearn.metrics import average_precision_score

from mlkdc.devices import LocalDevice
from mlkdc.errors import MlkdcError
from mlkdc.exporting import stranger
from mlkdc.exporting.parity import ROUNDING, answers_of, compare, drop_interval
from mlkdc.exporting.reference import Reference
from mlkdc.records.parity import Tolerance
from mlkdc.runtime.targets import load_target

STRICT = Tolerance(probability=1e-4, label_flips_percent=0, map_drop_points=0.1, class_drop_points=1)
LOOSE = Tolerance(probability=1, label_flips_percent=100, map_drop_points=100, class_drop_points=100)
TARGETS = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], dtype=np.uint8)
TORCH = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.7], [0.1, 0.3]], dtype=np.float32)
THRESHOLDS = np.array([0.5, 0.5])


def parity(artifact, tolerance=STRICT, original=TORCH, **allowed):
    reference = Reference("val", ("cat", "dog"), TARGETS, np.zeros((4, 3, 8, 8), dtype=np.uint8), original)
    tolerance = tolerance.model_copy(update=allowed)
    return compare(reference, np.asarray(artifact, dtype=np.float32), THRESHOLDS, tolerance, "stub")


def test_equal_answers_pass():
    actual = parity(TORCH)
    assert actual.passed
    assert actual.reason is None
    comparison = actual.comparison
    assert (comparison.images, comparison.split, comparison.runtime) == (4, "val", "stub")
    assert comparison.tolerance == STRICT
    assert actual.figures.max_probability_difference == 0
    assert comparison.map_torch_percent == actual.figures.map_artifact_percent == 100


def test_a_difference_is_reported_with_its_size():
    changed = TORCH.copy()
    changed[2, 1] += 0.01
    actual = parity(changed)
    assert not actual.passed
    assert actual.figures.max_probability_difference == pytest.approx(0.01, abs=1e-6)
    assert "largest probability difference 0.01, allowed 0.0001" in actual.reason


@pytest.mark.parametrize(("moved", "said"), [(0.0503, "0.0503"), (0.050004, "0.050004"), (0.2, "0.2")])
def test_a_difference_next_to_its_limit_is_told_from_it(moved, said):
    changed = TORCH.astype(np.float64)
    changed[2, 1] += moved
    reference = Reference("val", ("cat", "dog"), TARGETS, np.zeros((4, 3, 8, 8), dtype=np.uint8), TORCH.astype(float))
    tolerance = LOOSE.model_copy(update={"probability": 0.05})
    actual = compare(reference, changed, THRESHOLDS, tolerance, "stub")
    assert actual.reason == f"largest probability difference {said}, allowed 0.05"


@pytest.mark.parametrize("target", ["coreml", "ncnn", "openvino", "tensorrt"])
def test_half_precision_that_costs_no_label_and_no_map_passes(target):
    changed = TORCH.copy()
    changed[2, 1] += 0.0503
    tolerance = load_target(target).tolerance("fp16")
    assert parity(changed, tolerance).passed
    changed[2, 1] += 0.06
    assert parity(changed, tolerance).reason == "largest probability difference 0.11, allowed 0.1"


def test_label_flips_are_counted_against_their_tolerance():
    changed = TORCH.copy()
    changed[2, 0], changed[0, 1] = 0.45, 0.55
    actual = parity(changed, LOOSE, label_flips_percent=20)
    assert actual.figures.label_flips == 2
    assert actual.reason == "2 of 8 labels flipped, allowed 20 %"  # and nothing that is within its limits
    assert parity(changed, LOOSE, label_flips_percent=25).passed


def test_a_flip_by_rounding_is_counted_apart():
    original = TORCH.copy()
    original[2] = 0.5 - ROUNDING / 4, 0.5 - ROUNDING / 4
    changed = original.copy()
    changed[2] = 0.5 + ROUNDING / 4, 0.6
    actual = parity(changed, STRICT, original)
    assert (actual.figures.label_flips, actual.figures.label_flips_by_rounding) == (1, 1)
    assert not actual.passed
    changed[2, 1] = original[2, 1]
    assert parity(changed, STRICT, original).passed
    # A target that tolerates more than rounding has no such excuse.
    actual = parity(changed, LOOSE, original, label_flips_percent=0)
    assert (actual.figures.label_flips, actual.figures.label_flips_by_rounding, actual.passed) == (1, 0, False)


def test_another_order_of_equal_answers_does_not_fail_an_export():
    original = 0.5 + np.float32([[0, 0], [0, 0], [1, 1], [0, 0]]) * ROUNDING / 4
    changed = 0.5 + np.float32([[1, 1], [1, 1], [0, 0], [0, 0]]) * ROUNDING / 4
    actual = parity(changed, STRICT, original)
    assert abs(actual.comparison.map_torch_percent - actual.figures.map_artifact_percent) > 1
    assert actual.figures.map_drop_points == actual.figures.worst_class_drop_points == 0
    assert actual.passed
    # Where more than rounding is tolerated, the drop is that of the answers as they are.
    actual = parity(changed, LOOSE, original, map_drop_points=0.5)
    difference = actual.comparison.map_torch_percent - actual.figures.map_artifact_percent
    assert actual.figures.map_drop_points == difference > 1
    assert not actual.passed


def test_a_drop_of_map_is_reported():
    changed = TORCH.copy()
    changed[:, 0] = changed[::-1, 0]
    actual = parity(changed, LOOSE, map_drop_points=1)
    # Precision at each positive of class 0, from its definition; class 1 is still perfect.
    order = np.argsort(-changed[:, 0])
    hits = TARGETS[order, 0]
    expected = np.mean([hits[: k + 1].mean() for k in np.flatnonzero(hits)])
    assert actual.figures.map_artifact_percent == pytest.approx(100 * (expected + 1) / 2)
    after = f"{actual.figures.map_artifact_percent:.2f}"
    assert f"mAP drops from 100.00 to {after}, allowed drop 1" in actual.reason


def test_nan_fails_however_loose_the_tolerance():
    changed = TORCH.copy()
    changed[0, 0] = np.nan
    actual = parity(changed, LOOSE)
    assert not actual.passed
    assert "NaN" in actual.reason
    assert actual.figures is None
    assert actual.comparison.map_torch_percent == 100


def test_a_gain_of_map_is_no_fault():
    changed = TORCH.copy()
    changed[:, 0] = changed[::-1, 0]
    actual = parity(TORCH, LOOSE, changed, map_drop_points=0, class_drop_points=0)
    assert actual.figures.map_drop_points < 0
    assert actual.figures.worst_class_drop_points <= 0
    assert actual.passed


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
    reference = Reference("val", tuple("abcd"), targets, np.zeros((60, 3, 8, 8), dtype=np.uint8), original)
    actual = compare(reference, changed, np.full(4, 0.5), LOOSE.model_copy(update={"class_drop_points": 10}), "stub")
    drops = [
        100 * (average_precision_score(t, first) - average_precision_score(t, second))
        for t, first, second in zip(targets.T, original.T, changed.T, strict=True)
    ]
    assert max(drops[:3]) == drops[1] < drops[3]
    assert (actual.figures.worst_class, actual.figures.classes_judged) == ("b", 3)
    assert actual.figures.worst_class_drop_points == pytest.approx(drops[1], abs=1e-4)
    assert f"AP of b drops by {drops[1]:.2f}, allowed 10" in actual.reason


def test_the_worst_class_is_named_where_one_that_is_not_judged_stands_before_it():
    random = np.random.default_rng(0)
    targets = np.zeros((60, 3), dtype=np.uint8)
    targets[:9, 0] = targets[:10, 1] = targets[:30, 2] = 1  # nine are too few, ten are not
    before = (0.3 * random.random((60, 3)) + 0.6 * targets).astype(np.float32)
    after = before.copy()
    after[:, 1] = random.random(60)
    pixels = np.zeros((60, 3, 8, 8), dtype=np.uint8)
    reference = Reference("val", ("rare", "ten", "many"), targets, pixels, before)
    figures = compare(reference, after, np.full(3, 0.5), LOOSE, "stub").figures
    assert (figures.worst_class, figures.classes_judged) == ("ten", 2)
    assert figures.worst_class_interval_points == drop_interval(targets[:, 1], before[:, 1], after[:, 1])


def test_without_enough_positives_no_class_is_judged():
    """One image that falls from the first place to the second halves the AP of a class that has no other."""
    targets = np.zeros((40, 3), dtype=np.uint8)
    targets[:9, 0] = targets[20, 1] = 1
    random = np.random.default_rng(0)
    before = random.uniform(0, 0.4, targets.shape) + 0.5 * targets
    after = before.copy()
    after[21, 1] = before[20, 1] + 0.01
    pixels = np.zeros((40, 3, 8, 8), dtype=np.uint8)
    reference = Reference("val", tuple("abc"), targets, pixels, before.astype(np.float32))
    allowed = LOOSE.model_copy(update={"class_drop_points": 5})
    actual = compare(reference, after.astype(np.float32), np.full(3, 0.5), allowed, "stub")
    assert actual.figures.map_drop_points > 10
    assert (actual.figures.worst_class, actual.figures.classes_judged) == (None, 0)
    assert actual.passed


def test_the_worst_class_has_an_interval_that_holds_on_other_images():
    """Of ten samples of a population, the population's own drop is in the intervals of most."""
    random = np.random.default_rng(1)
    count, size = 20_000, 400
    targets = (random.random((count, 1)) < 0.3).astype(np.uint8)
    before = np.clip(0.3 * targets + 0.25 * random.standard_normal((count, 1)) + 0.4, 0, 1)
    after = np.clip(before + 0.2 * random.standard_normal((count, 1)), 0, 1)
    ap = [average_precision_score(targets, answers) for answers in (before, after)]
    true_drop = 100 * (ap[0] - ap[1])
    held = 0
    for start in range(0, 10 * size, size):
        rows = slice(start, start + size)
        low, high = drop_interval(targets[rows, 0], before[rows, 0], after[rows, 0])
        assert low < high
        held += low <= true_drop <= high
    assert true_drop > 1
    assert 7 <= held <= 10


@pytest.mark.parametrize(("value", "said"), [(1.5, "gives 0.1..1.5 where"), (-0.2, "gives -0.2..0.9 where")])
def test_what_is_no_probability_is_a_failed_parity(value, said):
    changed = TORCH.copy()
    changed[2, 0] = value
    actual = parity(changed, LOOSE)
    assert (actual.passed, actual.figures) == (False, None)
    assert said in actual.reason


@pytest.fixture
def artifact(tmp_path):
    """A folder that claims to be an artifact, and holds no model."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"no model")
    make_manifest(folder, ["model.onnx"]).save(folder)
    return folder


def test_answers_come_from_the_device(artifact, monkeypatch):
    pixels = np.arange(3 * 8 * 8, dtype=np.uint8).reshape(1, 3, 8, 8)
    asked = []

    def answers(device, subject, images, *, batch):
        assert batch is None
        asked.append(subject.folder)
        np.testing.assert_array_equal(images, pixels)
        return np.float32([[0.1, 0.2, 0.3]])

    monkeypatch.setattr(LocalDevice, "answers", answers)
    np.testing.assert_array_equal(answers_of(artifact, pixels), np.float32([[0.1, 0.2, 0.3]]))
    assert asked == [artifact]


def test_an_artifact_that_does_not_run_is_reported_in_the_runtimes_words(artifact):
    with pytest.raises(MlkdcError, match=r"the exported model does not run: ONNX Runtime cannot load .*model\.onnx"):
        answers_of(artifact, np.zeros((1, 3, 8, 8), dtype=np.uint8))


@pytest.mark.parametrize(("answer", "flips"), [(0.78, 0), (0.82, 1)])
def test_thresholds_and_answers_are_matched_with_labels_by_name(answer, flips, monkeypatch, tmp_path):
    (tmp_path / "model.file").write_text("")
    classes, thresholds = ("red", "green", "blue"), (0.2, 0.5, 0.8)
    make_manifest(tmp_path, ["model.file"], classes=classes, thresholds=thresholds).save(tmp_path)
    targets, pixels = np.array([[1, 0, 1]], dtype=np.uint8), np.zeros((1, 3, 8, 8), dtype=np.uint8)
    torch = np.array([[0.7, 0.3, 0.1]], dtype=np.float32)
    reference = Reference("val", ("blue", "green", "red"), targets, pixels, torch)
    answers = np.array([[0.1, 0.3, answer]], dtype=np.float32)
    monkeypatch.setattr(stranger, "answers_of", lambda folder, pixels: answers)
    judged = stranger.judge(tmp_path, reference, LOOSE, tmp_path)
    assert judged.answers.tolist() == answers[:, ::-1].tolist()
    assert judged.parity.figures.label_flips == flips
