"""Timing one call: warm up until it settles, then keep every call's time."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np

from mlkdc.errors import UsageError
from mlkdc.spread import spread

WINDOW = 10
#: A window ends after so many seconds, once it has so many calls: slow calls would pass the limit in the first one.
WINDOW_SECONDS, LEAST_WINDOW = 5.0, 3
SETTLED = 0.05
WARMUP_LEAST_SECONDS = 1.0
WARMUP_MOST_SECONDS = 20.0
KEPT_SAMPLES = 200
MINUTE_MS, LEAST_MINUTE_MS = 60_000, 30_000

Clock = Callable[[], int]


@dataclass(frozen=True)
class Timed:
    """What was measured; the fields of :class:`mlkdc.records.bench.Turn`, which says what they are."""

    median_ms: float
    p90_ms: float
    min_ms: float
    first_ms: float | None
    runs: int
    warmup_runs: int
    settled: bool
    drift: float
    samples_us: tuple[int, ...]
    minute_ms: tuple[float, ...]


def measure(
    call: Callable[[], object],
    *,
    runs: int = 200,
    seconds: float = 3.0,
    clock: Clock = time.perf_counter_ns,
) -> Timed:
    """Time ``call``.

    Warm-up: at least a second, and windows of 10 calls until two successive windows' medians are within 5 % of each
    other; after 20 s and two windows it ends all the same, and ``settled`` is False. Calls that are too slow for that
    have windows of 5 s, or of 3 calls.

    Args:
        call: what to time; its result is dropped.
        runs: timed calls, at least 3.
        seconds: that they last at least.
        clock: nanoseconds.

    Raises:
        UsageError: fewer than 3 runs.
    """
    if runs < 3:
        raise UsageError(f"expected at least 3 runs, got {runs}")
    first_ms = times_ms(call, 1, clock)[0]
    warmup_runs, settled = _warm_up(call, clock)
    start = clock()
    times = times_ms(call, runs, clock)
    while clock() - start < seconds * 1e9:
        times += times_ms(call, WINDOW, clock)
    return summarize(times, first_ms=first_ms, warmup_runs=warmup_runs + 1, settled=settled)


def summarize(times: list[float], *, first_ms: float | None, warmup_runs: int, settled: bool, calls: int = 1) -> Timed:
    """What single calls' times, in milliseconds and in order, come to.

    Args:
        times: at least 3.
        first_ms: None where it is not known.
        calls: of how many calls in a row each of them is the mean, where the clock is too coarse for one.
    """
    middle, p90 = np.percentile(times, [50, 90])
    third = len(times) // 3
    return Timed(
        median_ms=float(middle),
        p90_ms=float(p90),
        min_ms=min(times),
        first_ms=first_ms,
        runs=len(times) * calls,
        warmup_runs=warmup_runs,
        settled=settled,
        drift=median(times[-third:]) / median(times[:third]),
        samples_us=tuple(round(times[index] * 1000) for index in spread(len(times), KEPT_SAMPLES)),
        minute_ms=_minutes_ms(times, calls),
    )


def times_ms(call: Callable[[], object], runs: int, clock: Clock = time.perf_counter_ns) -> list[float]:
    """Milliseconds of single calls, one after another; ``clock`` gives nanoseconds."""
    times = []
    for _ in range(runs):
        start = clock()
        call()
        times.append((clock() - start) / 1e6)
    return times


def _warm_up(call: Callable[[], object], clock: Clock) -> tuple[int, bool]:
    """How many calls were made, and whether they settled before the limit."""
    start = clock()
    first = _window(call, clock)
    done, previous = len(first), median(first)
    while True:
        times = _window(call, clock)
        done, current = done + len(times), median(times)
        seconds = (clock() - start) / 1e9
        if seconds >= WARMUP_LEAST_SECONDS and abs(current - previous) <= SETTLED * previous:
            return done, True
        if seconds >= WARMUP_MOST_SECONDS:
            return done, False
        previous = current


def _window(call: Callable[[], object], clock: Clock) -> list[float]:
    """Milliseconds of the calls of one window."""
    start = clock()
    times = times_ms(call, LEAST_WINDOW, clock)
    while len(times) < WINDOW and clock() - start < WINDOW_SECONDS * 1e9:
        times += times_ms(call, 1, clock)
    return times


def _minutes_ms(times: list[float], calls: int) -> tuple[float, ...]:
    """Medians of successive minutes, the last of at least half a minute: calls and what is between them take longer
    than calls alone.
    """
    minutes: list[float] = []
    current: list[float] = []
    passed_ms = 0.0
    for taken in times:
        current.append(taken)
        passed_ms += taken * calls
        if passed_ms >= MINUTE_MS:
            minutes.append(median(current))
            current, passed_ms = [], 0.0
    if passed_ms >= LEAST_MINUTE_MS:
        minutes.append(median(current))
    return tuple(minutes)
