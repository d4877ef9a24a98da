"""A bench.json of two devices, three artifacts and two numbers of threads, with every call and its conditions."""

import random
from statistics import median

from report_training import MACHINE, VERSIONS

from mlkdc.records.bench import (
    Accuracy,
    BenchFile,
    Conditions,
    DeviceInfo,
    LatencyRow,
    Lost,
    PhotoTiming,
    Protocol,
    RowTiming,
    Speedup,
    Turn,
)

PI = "ssh://pi@kitchen"
TIMES = {"torch eager": 41.2, "onnx-fp32": 9.85, "onnx-fp16": 12.8, "onnx-int8": 6.1}
SIZES = {"torch eager": 13_700_000, "onnx-fp32": 13_650_000, "onnx-fp16": 6_900_000, "onnx-int8": 3_600_000}
PERCENTS = {"onnx-fp32": 77.9, "onnx-fp16": 77.6, "onnx-int8": 75.1}
PASSES = 5


def turn(draw: random.Random, milliseconds: float, conditions: Conditions, calls: int = 240) -> Turn:
    """One process: calls a little slower than the fastest, a few of them much."""
    milliseconds *= draw.uniform(0.985, 1.02)
    samples = []
    for _ in range(calls):
        slow = draw.uniform(1.3, 2.4) if draw.random() < 0.02 else 1
        samples.append(round(1000 * milliseconds * slow * (0.97 + draw.expovariate(35))))
    ordered = sorted(samples)
    return Turn(
        median_ms=median(samples) / 1000,
        p90_ms=ordered[calls * 9 // 10] / 1000,
        min_ms=ordered[0] / 1000,
        load_ms=30 * draw.uniform(0.9, 1.1),
        first_ms=milliseconds * 3,
        runs=calls,
        warmup_runs=90,
        settled=True,
        drift=1.0,
        peak_mib=80.0,
        conditions=conditions,
        samples_us=tuple(samples),
    )


def timing(turns: list[Turn], verdict: str = "stable", why: str = "") -> RowTiming:
    """The medians over the turns."""
    return RowTiming(
        median_ms=median([one.median_ms for one in turns]),
        p90_ms=median([one.p90_ms for one in turns]),
        min_ms=min([one.min_ms for one in turns]),
        load_ms=30.0,
        first_ms=turns[0].first_ms,
        peak_mib=80.0,
        runs=sum([one.runs for one in turns]),
        passes=len(turns),
        verdict=verdict,
        why=why,
    )


def _local(draw: random.Random) -> Conditions:
    return Conditions(
        waited=draw.uniform(0.001, 0.012), cpu_fraction=0.99, load=draw.uniform(0.2, 0.9), free_mib=9000.0
    )


def _pi(draw: random.Random) -> Conditions:
    start = draw.uniform(48, 51)
    clocks = (2400.0, 2400.0)
    return Conditions(
        waited=0.004,
        celsius=(start, start + 6),
        mhz=clocks,
        throttled="",
        governor="ondemand",
        load=0.4,
        free_mib=3100.0,
        cooled_seconds=draw.uniform(5, 40),
    )


def _row(draw: random.Random, device: str, name: str, threads: int) -> LatencyRow:
    conditions, factor = (_local, 1.0) if device == "local" else (_pi, 4.2)
    milliseconds = TIMES[name] * factor / (1 if threads == 1 else 1.6)
    turns = [turn(draw, milliseconds, conditions(draw)) for _ in range(PASSES)]
    verdict, why = "stable", ""
    if (device, name, threads) == ("local", "onnx-fp16", 2):
        verdict = "disturbed"
        why = "its threads waited 12% of the time for a core; close other programs and measure again"
    sustained = None
    if device == PI and threads == 2:
        minutes = tuple(milliseconds * (1 + 0.02 * minute) for minute in range(10))
        sustained = turn(draw, milliseconds * 1.1, _pi(draw)).model_copy(update={"minute_ms": minutes})
    accuracy = None
    if device == PI:
        accuracy = Accuracy(
            images=32,
            max_probability_difference=4e-6,
            within_tolerance=True,
            label_flips=1 if name == "onnx-int8" else 0,
            map_images=500,
            map_percent=PERCENTS[name],
            split="test",
        )
    photos = None
    if device == PI and name == "onnx-int8":
        photos = PhotoTiming(photos=16, megapixels=12.2, prepare_ms=98, run_ms=4, total_ms=102.5, p90_ms=140)
    return LatencyRow(
        name=name,
        device=device,
        threads=threads,
        precision=None if name == "torch eager" else name.rpartition("-")[2],
        size_bytes=SIZES[name],
        timing=timing(turns, verdict, why),
        turns=tuple(turns),
        sustained=sustained,
        photos=photos,
        accuracy=accuracy,
        speedup=Speedup(to="torch eager", value=TIMES["torch eager"] / TIMES[name], low=3.9, high=4.3)
        if device == "local"
        else None,
    )


def devices_bench(seed: int = 0) -> BenchFile:
    """Both devices; the second one is lost at its end."""
    draw = random.Random(seed)
    rows = []
    for device in ("local", PI):
        for name in TIMES:
            if device == "local" or name != "torch eager":
                rows += [_row(draw, device, name, threads) for threads in (1, 2)]
    pi = MACHINE.model_copy(update={"cpu": "Raspberry Pi 5 Model B", "cores": 4, "system": "Linux 6.12 aarch64"})
    return BenchFile(
        command="mlkdc bench runs/l2d-mobilenet --device local --device ssh://pi@kitchen",
        when="2026-11-21T14:00:00+00:00",
        image_size=224,
        protocol=Protocol(passes=PASSES, least_runs=200, least_seconds=3),
        devices={
            "local": DeviceInfo(url="local", machine=MACHINE, versions=VERSIONS),
            PI: DeviceInfo(url=PI, machine=pi, versions={"onnxruntime": "1.24.0"}, libc="glibc 2.41", python="3.13.5"),
        },
        rows=tuple(rows),
        lost=(Lost(device=PI, after=30, why="the connection was closed"),),
    )
