"""What exports and timing write into a synthetic run folder: manifest.json and bench.json."""

from collections.abc import Sequence

from report_training import MACHINE, VERSIONS

from mlkdc.records.bench import BenchFile, DeviceInfo, LatencyRow, Protocol, RowTiming, Speedup
from mlkdc.records.manifest import (
    InputSpec,
    Manifest,
    MergeReport,
    ModelFile,
    OutputSpec,
    RuntimeDetails,
)
from mlkdc.records.parity import (
    Calibration,
    Comparison,
    LadderStep,
    Parity,
    ParityFigures,
    QuantizationReport,
    Tolerance,
)
from mlkdc.records.preparation import Preparation
from mlkdc.records.results import ModelSize


def figures(drop: float, largest: float, flips: int) -> ParityFigures:
    """Of answers that are ``drop`` points of mAP, and twice as many of a class, worse than torch's 78.12 %."""
    return ParityFigures(
        map_artifact_percent=78.12 - drop,
        map_drop_points=drop,
        worst_class="zebra",
        worst_class_drop_points=2 * drop,
        classes_judged=20,
        max_probability_difference=largest,
        label_flips=flips,
    )


def quantization(equalize: bool = False) -> QuantizationReport:
    """Two steps of the int8 ladder."""
    steps = []
    for name, keep, drop in (("outliers clipped", (), 7.5), ("head in float", ("backbone.stem", "head"), 3.1)):
        step = LadderStep(
            step=name,
            clip=True,
            correct_biases=False,
            keep=keep,
            passed=False,
            reason="mAP drops",
            figures=figures(drop, 0.3, 77),
        )
        steps.append(step)
    calibration = Calibration(images=256, split="train", seed=0)
    return QuantizationReport(calibration=calibration, equalize=equalize, steps=tuple(steps))


def parity(drop: float = 0.0, passed: bool = True, images: int = 490) -> Parity:
    """A comparison on ``images`` images of the validation split."""
    tolerance = Tolerance(probability=1e-3, label_flips_percent=0.1, map_drop_points=0.1, class_drop_points=5)
    compared = figures(drop, 4.1e-6, 0)
    reason = None
    if not passed:
        compared, reason = figures(drop, 0.31, 77), "probabilities differ by 0.31, at most 0.001 allowed"
    comparison = Comparison(
        runtime="onnxruntime",
        images=images,
        split="val",
        tolerance=tolerance,
        map_torch_percent=78.12,
        figures=compared,
    )
    return Parity(passed=passed, reason=reason, comparison=comparison)


def manifest(name: str, classes: Sequence[str], drop: float = 0.0, passed: bool = True) -> Manifest:
    """One artifact's manifest.json, of ``onnx-fp32`` or the like."""
    target, _, precision = name.rpartition("-")
    size = {"fp32": 13_650_000, "fp16": 6_900_000, "int8": 3_600_000}[precision]
    before = ModelSize(
        params=3_412_345,
        params_backbone=2_223_872,
        params_head=1_188_473,
        macs=355_123_456,
        macs_backbone=299_123_456,
        macs_head=56_000_000,
    )
    after = before.model_copy(
        update={"params": 3_378_233, "params_backbone": 2_189_760, "macs": 341_000_000, "macs_backbone": 285_000_000}
    )
    return Manifest(
        name="l2d-mobilenet",
        target=target,
        runtime="onnxruntime",
        precision=precision,
        files={"model.onnx": ModelFile(sha256="0" * 64, size_bytes=size)},
        classes=tuple(classes),
        thresholds=(0.5,) * len(classes),
        preprocess=Preparation(size=224),
        input=InputSpec(name="image", shape=(1, 3, 224, 224), layout="NCHW", dtype="float32"),
        output=OutputSpec(name="probabilities", shape=(1, len(classes))),
        dynamic_batch=False,
        recipe_hash="0123456789ab",
        versions={"onnx": "1.23.2"},
        created="2026-11-21T13:00:00+00:00",
        merge=MergeReport(
            branches=22,
            conv_bn=52,
            normalization=True,
            head=True,
            before=before,
            after=after,
            max_logit_difference=3.2e-6,
        ),
        details=RuntimeDetails(),
        parity=parity(drop, passed),
        quantization=quantization() if precision == "int8" else None,
        status="ok" if passed else "failed",
    )


def spread(timing: RowTiming) -> RowTiming:
    """The same, of processes that differ."""
    return timing.model_copy(update={"verdict": "spread", "why": "its turns lie 21% apart; measure again"})


def bench() -> BenchFile:
    """bench.json: the baseline and three artifacts at 1 and 2 threads, one row unstable, one skipped."""
    rows = []
    eager = {1: 41.2, 2: 26.8}
    times = {"torch eager": 1.0, "onnx-fp32": 0.239, "onnx-fp16": 0.31, "onnx-int8": 0.149}
    sizes = {"torch eager": None, "onnx-fp32": 13_650_000, "onnx-fp16": 6_900_000, "onnx-int8": 3_600_000}
    for name, fraction in times.items():
        for threads, base in eager.items():
            median = base * fraction
            timing = RowTiming(
                median_ms=median,
                min_ms=median * 0.96,
                p90_ms=median * 1.08,
                runs=1800,
                passes=3,
                verdict="stable",
            )
            if (name, threads) == ("onnx-fp16", 2):
                timing = spread(timing)
            speedup = Speedup(to="torch eager", value=1 / fraction, low=0.9 / fraction, high=1.1 / fraction)
            row = LatencyRow(name=name, threads=threads, size_bytes=sizes[name], timing=timing, speedup=speedup)
            rows.append(row)
    rows.append(LatencyRow(name="openvino-fp32", threads=1, skipped="openvino is not installed"))
    return BenchFile(
        command="mlkdc bench runs/l2d-mobilenet",
        when="2026-11-21T14:00:00+00:00",
        image_size=224,
        protocol=Protocol(passes=3, least_runs=600, least_seconds=3),
        devices={
            "local": DeviceInfo(
                url="local",
                machine=MACHINE.model_copy(update={"cpu": "Another CPU"}),
                versions=VERSIONS | {"onnxruntime": "1.31.1"},
            )
        },
        rows=tuple(rows),
    )


def bench_of(rows: Sequence[LatencyRow]) -> BenchFile:
    """The same with other rows."""
    return bench().model_copy(update={"rows": tuple(rows)})
