"""Timing one call: warm up until it settles, report quantiles, say when they cannot be trusted."""

import time
from collections.abc import Callable
from statistics import median

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.records.bench import Timing

WINDOW = 10
SETTLED = 0.05
WARMUP_RUNS = 300
WARMUP_SECONDS = 20.0
DRIFT = 0.10
SPREAD = 0.25

Clock = Callable[[], int]


def measure(call: Callable[[], object], *, runs: int = 200, clock: Clock = time.perf_counter_ns) -> Timing:
    """Time ``call``.

    Warm-up: windows of 10 calls until two successive windows' medians are within 5 % of each other, at most
    300 calls or 20 s. ``stable`` is True when the warm-up settled that way, the medians of the first and of
    the second half of the timed runs differ by at most 10 % of the overall median, and nine of ten runs took at
    most 1.25 times the median. When it is False, other work disturbed the measurement: do not quote it.

    Args:
        call: what to time; its result is dropped.
        runs: timed calls, at least 2.
        clock: nanoseconds.

    Raises:
        UsageError: fewer than 2 runs.
    """
    if runs < 2:
        raise UsageError(f"expected at least 2 runs, got {runs}")
    warmup_runs, settled = _warm_up(call, clock)
    times = np.array(_times_ms(call, runs, clock))
    middle, p90, p99 = np.percentile(times, [50, 90, 99])
    drift = abs(np.median(times[: runs // 2]) - np.median(times[runs // 2 :]))
    stable = settled and drift <= DRIFT * middle and p90 <= (1 + SPREAD) * middle
    return Timing(
        median_ms=float(middle),
        p90_ms=float(p90),
        p99_ms=float(p99),
        mean_ms=float(times.mean()),
        min_ms=float(times.min()),
        runs=runs,
        warmup_runs=warmup_runs,
        stable=bool(stable),
    )


def _times_ms(call: Callable[[], object], runs: int, clock: Clock) -> list[float]:
    times = []
    for _ in range(runs):
        start = clock()
        call()
        times.append((clock() - start) / 1e6)
    return times


def _warm_up(call: Callable[[], object], clock: Clock) -> tuple[int, bool]:
    """How many calls were made, and whether they settled before the limits."""
    start, done = clock(), WINDOW
    previous = median(_times_ms(call, WINDOW, clock))
    while done < WARMUP_RUNS and clock() - start < WARMUP_SECONDS * 1e9:
        current = median(_times_ms(call, WINDOW, clock))
        done += WINDOW
        if abs(current - previous) <= SETTLED * previous:
            return done, True
        previous = current
    return done, False
