"""Run the workers, rows interleaved, and condense what they print into bench.json."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

from mlkdc.bench.rows import BASELINE, Row
from mlkdc.errors import UsageError
from mlkdc.runtime.machine import machine, versions

FORMAT = 1
LEAST_RUNS = 200
TIMEOUT_SECONDS = 900
AGREEMENT = 0.10
RUNTIMES = (
    "onnxruntime",
    "openvino",
    "ai-edge-litert",
    "executorch",
    "ncnn",
    "tensorrt",
    "tensorrt-rtx",
    "coremltools",
)
PACKAGES = ("mlkdc", "numpy", "torch", *RUNTIMES)

Measured = dict[str, Any] | str  # what a worker printed, or why it could not


def bench(
    rows: Sequence[Row],
    *,
    runs: int = LEAST_RUNS,
    passes: int = 3,
    threads: Sequence[int] = (1,),
    image_size: int | None = None,
    command: str = "",
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Time every row at every thread count; the contents of bench.json.

    Rows take turns within each pass, so that a slow minute of the machine falls on all of them. Each turn is
    a process of its own with ``--runs`` and ``--threads`` appended. A figure is the median over the passes
    (min_ms: the least). ``stable``: every pass was stable (:func:`mlkdc.runtime.timing.measure`) and the
    passes' medians lie within 10 % of their median. ``speedup``: the median of the row named ``torch eager``
    over this row's, at the same thread count. A row that cannot run has ``skipped``: why, and no figures.

    Args:
        rows: what to time.
        runs: timed calls per process, at least 200.
        passes: processes per row and thread count.
        threads: thread counts.
        image_size: of the model input in pixels, recorded.
        command: what the user typed, recorded.
        progress: called with a short text before each process starts.

    Raises:
        UsageError: too few runs, no rows, passes or threads.
    """
    if runs < LEAST_RUNS or passes < 1 or not rows or not threads or min(threads) < 1:
        raise UsageError(
            f"expected at least {LEAST_RUNS} runs, 1 pass, 1 row and 1 thread; "
            f"got {runs} runs, {passes} passes, {len(rows)} rows, threads {list(threads)}"
        )
    measured = _measure_all(rows, runs, passes, threads, progress or (lambda text: None))
    lines = [_line(rows[i], count, results) for (i, count), results in measured.items()]
    _add_speedups(lines)
    return {
        "format": FORMAT,
        "command": command,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(PACKAGES),
        "image_size": image_size,
        "rows": lines,
    }


def _measure_all(
    rows: Sequence[Row], runs: int, passes: int, threads: Sequence[int], progress: Callable[[str], None]
) -> dict[tuple[int, int], list[Measured]]:
    """By (index of the row, threads): one result per pass; none after a failure."""
    results: dict[tuple[int, int], list[Measured]] = {(i, n): [] for i in range(len(rows)) for n in threads}
    for number in range(1, passes + 1):
        for count in threads:
            for i, row in enumerate(rows):
                done = results[i, count]
                if done and isinstance(done[-1], str):
                    continue
                progress(f"pass {number}/{passes}, {_threads(count)}: {row.name}")
                done.append(_run_worker(row, runs, count))
    return results


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _run_worker(row: Row, runs: int, threads: int) -> Measured:
    argv = [*row.command, "--runs", str(runs), "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)
    except OSError as error:
        return f"could not start {argv[0]}: {error.strerror or error}"
    except subprocess.TimeoutExpired:
        return f"took longer than {TIMEOUT_SECONDS} s"
    if done.returncode:
        return _last_words(done)
    try:
        result = json.loads(done.stdout.strip().splitlines()[-1])
        return {key: result[key] for key in ("median_ms", "p90_ms", "p99_ms", "min_ms", "runs", "stable")}
    except (IndexError, KeyError, TypeError, ValueError):
        return f"the worker printed no result: {done.stdout.strip()[-200:]!r}"


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Why a worker failed: the signal that killed it, or the last line it wrote to stderr."""
    if done.returncode < 0:
        number = -done.returncode
        return f"the worker was killed by signal {number} ({signal.Signals(number).name})"
    said = done.stderr.strip().splitlines()
    return said[-1].strip() if said else f"the worker ended with exit code {done.returncode} and no message"


def _line(row: Row, threads: int, results: list[Measured]) -> dict[str, Any]:
    reasons = [result for result in results if isinstance(result, str)]
    figures = [result for result in results if not isinstance(result, str)]
    line: dict[str, Any] = {"name": row.name, "threads": threads}
    if reasons:
        line |= dict.fromkeys(("median_ms", "p90_ms", "p99_ms", "min_ms", "runs"), None)
        line |= {"passes": 0, "stable": False}
    else:
        line |= {key: median(figure[key] for figure in figures) for key in ("median_ms", "p90_ms", "p99_ms")}
        line |= {"min_ms": min(figure["min_ms"] for figure in figures), "runs": figures[0]["runs"]}
        line |= {"passes": len(figures), "stable": _stable(figures)}
    skipped = reasons[0] if reasons else None
    return line | {"size_bytes": row.size_bytes, "speedup": None, "skipped": skipped}


def _stable(figures: list[dict[str, Any]]) -> bool:
    medians = [figure["median_ms"] for figure in figures]
    agree = max(medians) - min(medians) <= AGREEMENT * median(medians)
    return agree and all(figure["stable"] for figure in figures)


def _add_speedups(lines: list[dict[str, Any]]) -> None:
    baseline = {line["threads"]: line["median_ms"] for line in lines if line["name"] == BASELINE}
    for line in lines:
        reference = baseline.get(line["threads"])
        if reference is not None and line["median_ms"]:
            line["speedup"] = reference / line["median_ms"]
