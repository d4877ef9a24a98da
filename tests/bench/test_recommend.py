"""Which artifact is named for a budget, and what is said where none fits."""

from pathlib import Path

import pytest
from fake_device import turn
from samples import make_manifest

from mlkdc.bench.recommend import Budget, recommend
from mlkdc.records.bench import Accuracy, BenchFile, DeviceInfo, LatencyRow, Protocol, RowTiming
from mlkdc.records.machine import Machine
from mlkdc.records.manifest import Manifest, ModelFile
from mlkdc.records.parity import Comparison, Parity, ParityFigures, Tolerance


def checked(map_percent: float) -> Manifest:
    """Of an artifact that passed its parity check with this mAP."""
    figures = ParityFigures(
        map_artifact_percent=map_percent,
        map_drop_points=0,
        worst_class=None,
        worst_class_drop_points=0,
        classes_judged=3,
        max_probability_difference=0,
        label_flips=0,
    )
    tolerance = Tolerance(probability=1e-3, label_flips_percent=0.1, map_drop_points=0.1, class_drop_points=5)
    comparison = Comparison(
        runtime="onnxruntime", images=8, split="val", tolerance=tolerance, map_torch_percent=61.0, figures=figures
    )
    return make_manifest(Path(), [], parity=Parity(passed=True, comparison=comparison))


ARTIFACTS = {"fp32": checked(61.0), "int8": checked(60.0), "fp16": checked(61.0)}
ARTIFACTS |= {name: make_manifest(Path(), []) for name in ("other", "slower", "a", "b")}


def row(name: str, *medians: float, verdict: str = "stable", **values) -> LatencyRow:
    middle = sorted(medians)[len(medians) // 2]
    timing = RowTiming(median_ms=middle, p90_ms=middle, min_ms=middle, runs=200, passes=1, verdict=verdict)
    turns = tuple(turn(median) for median in medians)
    defaults = {"device": "pi", "threads": 1, "precision": name}
    return LatencyRow(name=name, timing=timing, turns=turns, **{**defaults, **values})


def chosen(*rows: LatencyRow, budget: Budget, artifacts=ARTIFACTS):
    pi = DeviceInfo(url="pi", machine=Machine(cpu="made up", cores=4, system="tests"))
    protocol = Protocol(passes=1, least_runs=200, least_seconds=3)
    figures = BenchFile(
        command="", when="2026-01-01T00:00:00+00:00", image_size=96, protocol=protocol, devices={"pi": pi}, rows=rows
    )
    (found,) = recommend(figures, artifacts, budget)
    return found


def test_the_most_accurate_that_fits():
    found = chosen(row("fp32", 9.0), row("int8", 4.0), budget=Budget(10))
    assert found.row.name == "fp32"
    assert found.why == "fp32 (9.00 ms with 1 thread, mAP 61.00): the highest mAP within 10 ms"
    assert chosen(row("fp32", 9.0), row("int8", 4.0), budget=Budget(8)).row.name == "int8"


def test_of_equal_accuracy_the_faster():
    assert chosen(row("fp32", 9.0), row("fp16", 5.0), budget=Budget(10)).row.name == "fp16"


def test_of_equal_accuracy_the_one_whose_slowest_turn_is_the_faster():
    found = chosen(row("fp32", 3.0, 3.0, 7.0), row("fp16", 4.0, 4.0, 4.0), budget=Budget(10))
    assert found.row.name == "fp16"


def test_the_slowest_turn_must_fit():
    found = chosen(row("fp32", 7.9, 8.1, 7.9), budget=Budget(8))
    assert found.row is None
    assert found.why == "none fits 8 ms; fp32 (8.10 ms with 1 thread, mAP 61.00) comes nearest"


def test_accuracy_that_is_wanted():
    found = chosen(row("fp32", 9.0), row("int8", 4.0), budget=Budget(8, map_percent=60.5))
    assert found.row is None
    assert "none fits 8 ms and mAP 60.5; int8" in found.why


def test_what_comes_nearest_misses_time_and_accuracy_together_by_least():
    """int8 is a little faster, and by more than that short of the mAP."""
    found = chosen(row("fp32", 12.05), row("int8", 12.0), budget=Budget(10, map_percent=61))
    assert "; fp32 (12.05 ms" in found.why


def test_unknown_accuracy_does_not_fit_where_one_is_wanted():
    found = chosen(row("other", 5.0), budget=Budget(8, map_percent=50))
    assert found.row is None
    assert found.why == "none fits 8 ms and mAP 50; other (5.00 ms with 1 thread, mAP –) comes nearest"


def test_what_was_measured_on_the_device_goes_before_the_parity_check():
    there = Accuracy(images=8, max_probability_difference=0.1, label_flips=0, map_images=8, map_percent=30.0)
    assert chosen(row("fp32", 5.0, accuracy=there), row("int8", 4.0), budget=Budget(8)).row.name == "int8"


@pytest.mark.parametrize("milliseconds", [4, 8])
def test_accuracy_of_at_least_nothing_is_any(milliseconds):
    free, zero = (chosen(row("fp32", 5.0), budget=Budget(milliseconds, least)) for least in (None, 0.0))
    assert free.row == zero.row


def test_accuracy_that_is_not_known_is_not_called_the_highest():
    found = chosen(row("other", 5.0), row("slower", 6.0), budget=Budget(8))
    assert found.why == "other (5.00 ms with 1 thread, mAP –): the fastest, of unknown mAP, within 8 ms"
    assert chosen(row("other", 5.0), row("int8", 6.0), budget=Budget(8)).row.name == "int8"


def test_what_was_disturbed_may_fit_after_all():
    found = chosen(row("fp32", 9.0, verdict="disturbed"), budget=Budget(8))
    assert found.row is None
    assert found.why.endswith("comes nearest; its timing is disturbed, measure again before you rely on it")


def test_another_model_is_never_named():
    other = Accuracy(images=8, max_probability_difference=0.9, within_tolerance=False, label_flips=9)
    found = chosen(row("fp32", 5.0, accuracy=other), budget=Budget(8))
    assert found.row is None
    assert found.why == (
        "nothing that was measured there can be shipped: fp32 answers otherwise than the torch model there"
    )


def test_where_only_the_torch_model_was_measured():
    found = chosen(row("torch eager", 5.0, precision=None), budget=Budget(8))
    assert (found.row, found.why) == (None, "no artifact was measured there")


@pytest.mark.parametrize(("within_tolerance", "counts"), [(True, True), (None, False), (False, False)])
def test_an_unverified_artifact_counts_once_the_device_has_confirmed_its_answers(within_tolerance, counts):
    artifacts = {"fp32": checked(61.0).model_copy(update={"status": "unverified"})}
    there = Accuracy(images=8, max_probability_difference=0, within_tolerance=within_tolerance, label_flips=0)
    found = chosen(row("fp32", 5.0, accuracy=there), budget=Budget(8), artifacts=artifacts)
    assert (found.row is not None) == counts
    unasked = chosen(row("fp32", 5.0), budget=Budget(8), artifacts=artifacts)
    assert unasked.row is None
    assert unasked.why.endswith("fp32 was not compared with the torch model, neither at its export nor there")


def test_what_is_gone_failed_or_was_exported_again_is_no_candidate():
    now = checked(99.0).model_copy(update={"files": {"model.onnx": ModelFile(sha256="0" * 64, size_bytes=1)}})
    failed = checked(99.0).model_copy(update={"status": "failed"})
    rows = [
        row("gone", 1.0),
        row("fp16", 2.0),
        row("fp32", 3.0, artifact_sha256="1" * 64),
        row("fp32", 3.0, artifact_sha256="1" * 64, threads=2),
    ]
    artifacts = {"fp16": failed, "fp32": now}
    found = chosen(*rows, budget=Budget(8), artifacts=artifacts)
    assert found.row is None
    assert found.why == (
        "nothing that was measured there can be shipped: gone is not there any more, or cannot be read; fp16 failed "
        "its parity check; fp32 was exported again since, measure it again"
    )
    same = row("fp32", 3.0, artifact_sha256=now.files_sha256)
    assert chosen(*rows, same, budget=Budget(8), artifacts=artifacts).row == same


@pytest.mark.parametrize(("verdict", "expected"), [("disturbed", "int8"), ("stable", "fp32")])
def test_stable_timings_first(verdict, expected):
    found = chosen(row("fp32", 5.0, verdict=verdict), row("int8", 4.0), budget=Budget(8))
    assert found.row.name == expected


def test_what_would_be_better_if_its_timing_held_is_named():
    found = chosen(row("fp32", 5.0, verdict="spread"), row("int8", 4.0), budget=Budget(8))
    assert found.why == (
        "int8 (4.00 ms with 1 thread, mAP 60.00): the highest mAP of the stable timings within 8 ms; fp32 (5.00 ms "
        "with 1 thread, mAP 61.00) is more accurate, but its timing is spread out: measure it again"
    )
    found = chosen(row("a", 5.0, verdict="unknown"), row("b", 6.0), budget=Budget(8))
    assert found.why == (
        "b (6.00 ms with 1 thread, mAP –): the fastest of the stable timings, of unknown mAP, within 8 ms; a (5.00 ms "
        "with 1 thread, mAP –) is faster, but its timing is of unknown quality: measure it again"
    )


@pytest.mark.parametrize(
    ("best", "other"),
    [
        (row("int8", 4.0), row("fp32", 9.0, verdict="spread")),  # does not fit
        (row("fp32", 5.0), row("fp16", 3.0, verdict="spread")),  # is as accurate
        (row("fp32", 5.0, verdict="spread"), row("fp16", 6.0, verdict="spread")),
    ],
)
def test_what_is_not_better_is_not_named(best, other):
    found = chosen(best, other, budget=Budget(8))
    assert found.row.name == best.name
    assert "the highest mAP within 8 ms" in found.why
    assert other.name not in found.why


def test_a_timing_that_is_not_stable_is_said():
    found = chosen(row("fp32", 5.0, verdict="disturbed"), budget=Budget(8))
    assert found.why.endswith("its timing is disturbed, measure again before you rely on it")
