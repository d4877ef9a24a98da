"""Run the workers, rows interleaved, and condense what they print into bench.json."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from statistics import median

from pydantic import ValidationError

from mlkdc.bench.rows import Row
from mlkdc.devices import Device, LocalDevice
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.figures import threads as threads_in_words
from mlkdc.records.bench import BASELINE, BenchFile, LatencyRow, RowTiming, Timing

LEAST_RUNS = 200
TIMEOUT_SECONDS = 900
AGREEMENT = 0.10
PACKAGES = (
    "mlkdc",
    "numpy",
    "torch",
    "onnxruntime",
    "openvino",
    "ai-edge-litert",
    "executorch",
    "ncnn",
    "tensorrt",
    "tensorrt-rtx",
    "coremltools",
)

Say = Callable[[str], None]


@dataclass
class _Turns:
    """One row at one number of threads: what each of its processes measured, and why it was skipped, if it was."""

    row: Row
    threads: int
    timings: list[Timing] = field(default_factory=list)
    skipped: str | None = None


def bench(
    rows: Sequence[Row],
    *,
    runs: int = LEAST_RUNS,
    passes: int = 3,
    threads: Sequence[int] = (1,),
    image_size: int | None = None,
    command: str = "",
    progress: Say = lambda text: None,
    device: Device | None = None,
) -> BenchFile:
    """Time every row at every number of threads.

    Rows take turns within each pass, so that a slow minute of the machine falls on all of them. Each turn is
    a separate process with ``--runs`` and ``--threads`` appended. A figure is the median over the passes
    (min_ms: the least). ``stable``: every pass was stable (:func:`mlkdc.runtime.timing.measure`) and the
    passes' medians lie within 10 % of their median. ``speedup``: the median of the row named ``torch eager``
    over this row's, at the same number of threads. A row that cannot run has ``skipped``: why, and no timing.

    Args:
        rows: what to time.
        runs: timed calls per process, at least 200.
        passes: processes per row and number of threads.
        threads: numbers of threads.
        image_size: of the model input in pixels, recorded.
        command: what the user typed, recorded.
        progress: called with a short text before each process starts.
        device: where; None = this machine.

    Raises:
        UsageError: too few runs, no rows, passes or threads.
    """
    if runs < LEAST_RUNS or passes < 1 or not rows or not threads or min(threads) < 1:
        raise UsageError(
            f"expected at least {LEAST_RUNS} runs, 1 pass, 1 row and 1 thread; "
            f"got {runs} runs, {passes} passes, {len(rows)} rows, threads {list(threads)}"
        )
    device = device or LocalDevice()
    schedule = [_Turns(row, count) for row in rows for count in threads]
    for number in range(1, passes + 1):
        for count in threads:
            for turns in schedule:
                if turns.threads == count and turns.skipped is None:
                    progress(f"pass {number}/{passes}, {threads_in_words(count)}: {turns.row.name}")
                    _take_turn(turns, runs, device)
    return BenchFile(
        command=command,
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        machine=device.machine(),
        versions=device.versions(PACKAGES),
        image_size=image_size,
        rows=tuple(_latency_rows(schedule)),
    )


def _take_turn(turns: _Turns, runs: int, device: Device) -> None:
    """One process; a row that fails is not tried again."""
    arguments = list(turns.row.arguments)
    environment = {"OMP_NUM_THREADS": str(turns.threads)}
    try:
        if turns.row.folder is not None:
            arguments.append(device.push(turns.row.folder))
        arguments += ["--runs", str(runs), "--threads", str(turns.threads)]
        done = device.run(arguments, environment=environment, timeout_seconds=TIMEOUT_SECONDS)
    except MlkdcError as error:
        turns.skipped = str(error)
        return
    if done.failure is not None:
        turns.skipped = done.failure
        return
    printed = done.stdout.strip()
    try:
        turns.timings.append(Timing.model_validate_json(printed.rpartition("\n")[2]))
    except ValidationError:
        turns.skipped = f"the worker printed no result: {printed[-200:]!r}"


def _latency_rows(schedule: Sequence[_Turns]) -> list[LatencyRow]:
    baseline_ms = {}
    timings = [_row_timing(turns) for turns in schedule]
    for turns, timing in zip(schedule, timings, strict=True):
        if turns.row.name == BASELINE and timing is not None:
            baseline_ms[turns.threads] = timing.median_ms
    rows = []
    for turns, timing in zip(schedule, timings, strict=True):
        speedup = None
        if timing is not None and turns.threads in baseline_ms:
            speedup = baseline_ms[turns.threads] / timing.median_ms
        rows.append(
            LatencyRow(
                name=turns.row.name,
                threads=turns.threads,
                size_bytes=turns.row.size_bytes,
                timing=timing,
                speedup=speedup,
                skipped=turns.skipped,
            )
        )
    return rows


def _row_timing(turns: _Turns) -> RowTiming | None:
    """The medians over the passes; None for a row that was skipped, even in its last pass."""
    if turns.skipped is not None:
        return None
    medians = [timing.median_ms for timing in turns.timings]
    agree = max(medians) - min(medians) <= AGREEMENT * median(medians)
    return RowTiming(
        median_ms=median(medians),
        p90_ms=median([timing.p90_ms for timing in turns.timings]),
        p99_ms=median([timing.p99_ms for timing in turns.timings]),
        min_ms=min([timing.min_ms for timing in turns.timings]),
        runs=turns.timings[0].runs,
        passes=len(turns.timings),
        stable=agree and all(timing.stable for timing in turns.timings),
    )
