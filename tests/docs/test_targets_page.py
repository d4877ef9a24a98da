"""docs/targets.md of made-up figures: failed, missing, not finite and untimed rows are reported, no ratio is lost."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from samples import MERGED, SIZE
from study_records import Shipped, StudentEntry, StudyData, TargetsStudy

from mlkdc.records.bench import BenchFile, DeviceInfo, LatencyRow, Protocol, RowTiming
from mlkdc.records.machine import Machine
from mlkdc.records.manifest import RuntimeDetails
from mlkdc.records.parity import (
    Calibration,
    Comparison,
    LadderStep,
    Parity,
    ParityFigures,
    Promise,
    QuantizationReport,
    Tolerance,
)
from mlkdc.records.results import ModelFacts

TOLERANCE = Tolerance(probability=0.1, label_flips_percent=1, map_drop_points=0.5, class_drop_points=5)
MILLISECONDS = {
    "baseline": 12.0,
    "small head": 8.0,
    "merged": 6.0,
    "torch eager": 30.0,
    "onnx-fp32": 4.0,
    "openvino-int8": 2.0,
}


@pytest.fixture(scope="module")
def render() -> Any:
    return import_module("render_targets")


def figures(**changes: Any) -> ParityFigures:
    values = {
        "map_artifact_percent": 39.8,
        "map_drop_points": 0.2,
        "worst_class": "cat",
        "worst_class_drop_points": 3.0,
        "classes_judged": 4,
        "max_probability_difference": 0.01,
        "label_flips": 10,
    }
    return ParityFigures(**{**values, **changes})


def shipped(
    compared: ParityFigures | None, *, status: str = "ok", steps: tuple[LadderStep, ...] = (), **details: Any
) -> Shipped:
    comparison = Comparison(
        runtime="x", images=100, split="val", tolerance=TOLERANCE, map_torch_percent=40.0, figures=compared
    )
    quantization = None
    if steps:
        calibration = Calibration(images=4, split="train", seed=0)
        quantization = QuantizationReport(calibration=calibration, equalize=False, steps=steps)
    return Shipped(
        status=status,
        precision="fp32",
        target="onnx",
        runtime="x",
        parity=Parity(passed=status == "ok", comparison=comparison),
        quantization=quantization,
        details=RuntimeDetails(**details),
        merge=MERGED,
        versions={"onnx": "1"},
        size_bytes=2_000_000,
    )


def promised(artifact: Shipped, doubt: str | None = None) -> Shipped:
    """An int8 artifact that was judged by cross-fitting, too."""
    promise = Promise(
        images=(50, 50),
        chosen=("a", "b"),
        figures=figures(map_drop_points=0.3, worst_class="dog", worst_class_interval_points=(-1.0, 7.25)),
        map_drop_interval_points=(-0.1, 0.75),
        firm=doubt is None,
        doubt=doubt,
    )
    calibration = Calibration(images=4, split="train", seed=0)
    report = QuantizationReport(calibration=calibration, equalize=False, steps=(), promise=promise)
    return artifact.model_copy(update={"quantization": report})


def step(name: str, compared: ParityFigures | None) -> LadderStep:
    return LadderStep(
        step=name, clip=False, correct_biases=False, keep=(), passed=False, reason="far off", figures=compared
    )


def row(name: str, threads: int, ms: float, *, stable: bool = True) -> LatencyRow:
    verdict, why = ("stable", "") if stable else ("spread", "its turns lie 20% apart")
    timing = RowTiming(median_ms=ms, p90_ms=ms, min_ms=ms, runs=400, passes=2, verdict=verdict, why=why)
    return LatencyRow(name=name, threads=threads, size_bytes=2_000_000, timing=timing)


def latency(machine: Machine, unstable: tuple[tuple[str, int], ...] = ()) -> BenchFile:
    rows = []
    for threads in (1, 2):
        for name, ms in MILLISECONDS.items():
            rows.append(row(name, threads, ms / threads, stable=(name, threads) not in unstable))
        rows.append(row("ncnn-fp32", threads, 9.0, stable=False))
        rows.append(LatencyRow(name="onnx-int8", threads=threads, size_bytes=2_000_000, skipped="is a failed export"))
    return BenchFile(
        command="",
        when="2026-01-01T00:00:00+00:00",
        image_size=224,
        protocol=Protocol(passes=2, least_runs=200, least_seconds=3),
        devices={"local": DeviceInfo(url="local", machine=machine, versions={"torch": "2"})},
        rows=tuple(rows),
    )


@pytest.fixture
def entry() -> StudentEntry:
    steps = (step("first", None), step("second", figures()))
    return StudentEntry(
        bench=latency(Machine(cpu="x", cores=2, vnni=True, memory_gib=4, system="y")),
        commands=("mlkdc distill",),
        training_seconds=(60, 120),
        seed=0,
        missing={"litert-fp32": "needs litert-torch"},
        model=ModelFacts(model="mobilenetv2", head="compact", image_size=224, **SIZE.model_dump()),
        metrics={"mAP": 40.0},
        scored_on="val",
        data=StudyData(name="photos", images={"train": 10}, classes=4),
        artifacts={
            "ncnn-fp32": shipped(figures()),
            "onnx-fp32": shipped(figures(map_drop_points=-0.0)),
            "onnx-int8": shipped(None, status="failed", steps=steps, reduce_range=False),
            "openvino-int8": shipped(figures(), reduce_range=False),
        },
    )


def changed(entry: StudentEntry, name: str, artifact: Shipped) -> StudentEntry:
    return entry.model_copy(update={"artifacts": {**entry.artifacts, name: artifact}})


def study_of(entry: StudentEntry) -> TargetsStudy:
    return TargetsStudy(students={"mobilenetv2": entry})


def test_made_up_figures(render: Any, entry: StudentEntry, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    study_of(entry).save_as(path)
    text = "\n".join(render.measured(TargetsStudy.load_from(path)))
    # 12 / 2, as with two threads 6 / 1.
    assert "with 1 thread 6.00 times (`openvino-int8`): met; with 2 threads 6.00 times (`openvino-int8`): met" in text
    assert "| ncnn-fp32 | 2.0 | 39.80 | 0.20 | 3.00 | 1.0e-02 | 2.50 | ok | 9.00 * | 1.33 | 9.00 * | 0.67 |" in text
    assert "| onnx-fp32 | 2.0 | 39.80 | 0.00 | 3.00 |" in text
    assert "| onnx-int8 | 2.0 | – | – | – | – | – | failed | – | – | – | – |" in text
    assert "- `litert-fp32` skipped: needs litert-torch" in text
    assert "- `onnx-int8` skipped: is a failed export" in text
    steps = [
        line
        for line in text.splitlines()
        if line.startswith(("| baseline | d", "| small", "| merged", "| onnx-fp32 | what"))
    ]
    assert [line.split(" | ")[3].strip() for line in steps] == ["", "1.50", "1.33", "1.50"]
    assert "| onnx-int8 | int8: not shipped, see above |" in text
    assert "| openvino-int8 | the fastest runtime and precision | 2.00 | 2.00 | 1.00 | 2.00 |" in text
    assert "| first | – | – | – | no |" in text
    assert (
        "at least 200 calls, 2 processes a row, rows taking turns. 12 of 14 timings are stable, 2 spread (its" in text
    )
    assert "| second | 39.80 | 0.20 | 3.00 | no |" in text


def test_what_int8_may_lose_on_other_images_is_shown(render: Any, entry: StudentEntry) -> None:
    assert "on other images" not in "\n".join(render.student_parts(entry))  # measured before that was
    weak = changed(entry, "openvino-int8", promised(shipped(figures()), "mAP may drop by up to 0.75, allowed 0.5"))
    both = changed(weak, "ncnn-fp32", promised(shipped(figures())))
    text = "\n".join(render.student_parts(both))
    cells = "0.30 | 0.75 | dog | 3.00 | 7.25"
    assert f"| openvino-int8 | {cells} | weak: mAP may drop by up to 0.75, allowed 0.5 |" in text
    assert f"| ncnn-fp32 | {cells} | firm |" in text
    failed = changed(entry, "onnx-int8", promised(shipped(figures(), status="failed")))
    assert render.other_images(failed) == []  # nothing is promised of it


def test_unstable_timings_are_marked(render: Any, entry: StudentEntry) -> None:
    bench = latency(entry.bench.devices["local"].machine, unstable=(("baseline", 2),))
    text = render.verdict(entry.model_copy(update={"bench": bench}))
    assert "with 1 thread 6.00 times (`openvino-int8`): met; " in text
    assert "with 2 threads 6.00 times (`openvino-int8`, timings not known to be stable): met" in text


def test_a_missed_aim_is_reported(render: Any, entry: StudentEntry) -> None:
    worse = changed(entry, "openvino-int8", shipped(figures(map_artifact_percent=39.4)))
    assert "3.00 times (`onnx-fp32`): missed by 1.00" in render.verdict(worse)


def test_the_worth_of_int8_depends_on_the_processor_and_the_artifacts(render: Any, entry: StudentEntry) -> None:
    assert "`export.reduce_range: false`" in "".join(render.worth(study_of(entry)))
    assert ", VNNI," in render.timed_on(entry.bench)
    mixed = changed(entry, "onnx-int8", shipped(None, status="failed", reduce_range=True))
    assert render.worth(study_of(mixed)) == []  # nothing is claimed of a mixture
    without = Machine(cpu="x", cores=2, vnni=False, memory_gib=4, system="y")
    reduced = changed(mixed, "openvino-int8", shipped(figures(), reduce_range=True))
    reduced = reduced.model_copy(update={"bench": latency(without)})
    assert "half of a weight's range unused" in "".join(render.worth(study_of(reduced)))
    full = entry.model_copy(update={"bench": latency(without)})
    assert render.worth(study_of(full)) == []


def test_what_was_reached_without_vnni_is_shown(
    render: Any, entry: StudentEntry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "other.json"
    monkeypatch.setattr(render, "WITHOUT", path)
    assert render.without_vnni() == []
    study_of(entry).save_as(path)
    assert "- MobileNetV2: Aim: 4 times" in "\n".join(render.without_vnni())


def test_int8_of_repvgg_is_left_out_where_it_was_not_measured(
    render: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "INT8", tmp_path / "none.json")
    assert render.repvgg() == []
