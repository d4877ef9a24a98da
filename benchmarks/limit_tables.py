"""The tables of docs/latency.md that show what other limits of drift, spread and warm-up would do."""

from collections.abc import Sequence
from statistics import median

import numpy as np
from limit_records import LimitsStudy, Start

from mlkdc.bench import verdict
from mlkdc.bench.schedule import LEAST_RUNS, Plan
from mlkdc.figures import number
from mlkdc.runtime import timing
from mlkdc.tables import Table

LIMITS = (0.02, 0.05, 0.1, 0.2)
DRAWS = 2000


def percent(fraction: float) -> str:
    """A limit as people read it."""
    return f"{fraction:.0%}".replace("%", " %")


def limits(study: LimitsStudy) -> str:
    """The experiments of the three limits."""
    intro = (
        f"`python benchmarks/limits.py ARTIFACT`: {study.artifact}, one thread. A process is stopped for some "
        "microseconds of every millisecond, as a processor that is too hot skips clocks: every call takes longer. "
        "(Each stop also wakes the runtime's idle threads, which then wait for the core; that is left out here.)"
    )
    return "\n\n".join([intro, _drift(study), _spread(study), _warm_up(study.starts), _not_tried()])


def _drift(study: LimitsStudy) -> str:
    head = ["stopped from the middle on", "last third / first third"]
    head += [f"over {percent(limit)}" for limit in LIMITS]
    rows = []
    for held_us in sorted({held.held_us for held in study.turns if not held.from_start}):
        turns = study.held(held_us, from_start=False)
        drifts = [turn.drift for turn in turns if turn.drift is not None]
        row = [f"{held_us / 10:g} %", f"{min(drifts):.2f} to {max(drifts):.2f}"]
        rows.append([*row, *(f"{sum(drift > 1 + limit for drift in drifts)} of {len(drifts)}" for limit in LIMITS)])
    text = f"**Drift.** Turns that each limit would call throttled; it is {percent(verdict.DRIFT - 1)}."
    return f"{text}\n\n{Table(head, rows, 'rrrrrr').markdown()}"


def _spread(study: LimitsStudy) -> str:
    """Rows drawn from the turns that were measured: what each limit refuses."""
    alone, *others = sorted({held.held_us for held in study.turns if held.from_start})
    quiet = np.array([turn.median_ms for turn in study.held(alone, from_start=True)])
    slow = np.array([turn.median_ms for held_us in others for turn in study.held(held_us, from_start=True)])
    slower = np.median(slow) / np.median(quiet)
    generator = np.random.default_rng(0)
    rows_of = (DRAWS, Plan().passes)
    drawn = {"quiet": generator.choice(quiet, rows_of), "mixed": generator.choice([*quiet, *slow], rows_of)}
    head = ["turns lie further apart than", "refused of quiet rows", "refused of mixed rows"]
    rows = []
    for limit in LIMITS:
        rows.append(
            [percent(limit), *(percent(float(np.mean(_spreads(medians) > limit))) for medians in drawn.values())]
        )
    text = (
        f"**Spread.** Rows of {Plan().passes} turns, drawn {DRAWS:,} times from those that were measured: quiet ones, "
        f"and mixed ones, in which every turn is one that was held up, and took {number(slower)} times as long, with a "
        f"chance of one half. The limit is {percent(verdict.SPREAD)}: a smaller one would refuse nearly all rows of "
        "this machine, a larger one would let most mixed ones pass."
    )
    return f"{text}\n\n{Table(head, rows, 'rrr').markdown()}"


def _spreads(drawn: np.ndarray) -> np.ndarray:
    return np.asarray(np.ptp(drawn, axis=1) / np.median(drawn, axis=1))


def _warm_up(starts: Sequence[Start]) -> str:
    head = ["two windows agree within", "at least", "calls until then", f"next {LEAST_RUNS} calls off by, median"]
    head += ["at most"]
    rows = []
    least = timing.WARMUP_LEAST_SECONDS
    for limit, seconds in [*((limit, 0.0) for limit in LIMITS), (timing.SETTLED, least)]:
        ends = [_settled(start.windows_us, limit, seconds) for start in starts]
        errors = []
        for start, end in zip(starts, ends, strict=True):
            after = start.windows_us[end : end + LEAST_RUNS // timing.WINDOW]
            errors.append(abs(median(after) / _final(start) - 1))
        calls = timing.WINDOW * median(ends)
        rows.append([percent(limit), f"{seconds:g} s", f"{calls:.0f}", f"{median(errors):.1%}", f"{max(errors):.1%}"])
    firsts = [start.windows_us[0] / _final(start) for start in starts]
    text = (
        f"**Warm-up.** {len(starts)} fresh processes that are timed from the second call on; the first ten calls took "
        f"{number(min(firsts))} to {number(max(firsts))} times as long as those of the last second. What a rule for "
        "the end of the warm-up would have measured next, next to that second; the last row is the rule."
    )
    return f"{text}\n\n{Table(head, rows, 'rrrrr').markdown()}"


def _settled(windows_us: Sequence[int], limit: float, seconds: float) -> int:
    """How many windows the warm-up has taken when two successive ones agree."""
    passed = windows_us[0] * timing.WINDOW / 1e6
    for index in range(1, len(windows_us)):
        passed += windows_us[index] * timing.WINDOW / 1e6
        agree = abs(windows_us[index] - windows_us[index - 1]) <= limit * windows_us[index - 1]
        if agree and passed >= seconds:
            return index + 1
    raise ValueError(f"no two windows agree within {limit}")


def _final(start: Start) -> float:
    """The median of the last second's windows."""
    last: list[int] = []
    for window in reversed(start.windows_us):
        last.append(window)
        if sum(last) * timing.WINDOW >= 1e6:
            break
    return median(last)


def _not_tried() -> str:
    return (
        "**Clock and temperature.** This machine shows neither, so no experiment here set their limits. "
        f"{percent(verdict.CLOCK)} of the clock is the limit of drift said in another way: what computes takes longer "
        "as the clock is lower."
    )
