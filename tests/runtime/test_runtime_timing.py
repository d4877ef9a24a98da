"""Timing with a clock that the test moves itself, so that every duration is known."""

import numpy as np
import pytest

from mlkdc.errors import UsageError
from mlkdc.runtime.timing import KEPT_SAMPLES, Timed, measure, summarize


class Call:
    """A call that takes ``durations(i)`` milliseconds the i-th time, on a separate clock."""

    def __init__(self, durations) -> None:
        self.durations, self.made, self.now = durations, [], 0

    def __call__(self) -> None:
        taken = self.durations(len(self.made))
        self.made.append(taken)
        self.now += round(taken * 1e6)

    def clock(self) -> int:
        return self.now


def timed(durations, runs: int = 200, seconds: float = 0.1) -> tuple[Timed, Call]:
    call = Call(durations)
    return measure(call, runs=runs, seconds=seconds, clock=call.clock), call


def test_quantiles_are_those_of_the_timed_calls_only():
    noise = np.random.default_rng(0).uniform(10, 12, 2000)
    result, call = timed(lambda i: noise[i] if i >= 10 else 50.0)
    calls = call.made[result.warmup_runs :]
    assert len(calls) == result.runs == 200
    assert result.median_ms == pytest.approx(np.quantile(calls, 0.5))
    assert result.p90_ms == pytest.approx(np.quantile(calls, 0.9))
    assert result.min_ms == pytest.approx(np.min(calls), rel=1e-6)
    assert result.first_ms == 50.0
    assert result.settled


def test_a_fast_call_is_timed_for_the_seconds_asked_for():
    result, _ = timed(lambda i: 0.5, runs=200, seconds=2.0)
    assert result.runs == pytest.approx(4000, abs=10)
    slow, _ = timed(lambda i: 100.0, runs=200, seconds=2.0)
    assert slow.runs == 200


def test_warm_up_lasts_at_least_a_second_and_until_the_call_settles():
    steady, _ = timed(lambda i: 2.0)
    assert steady.warmup_runs == pytest.approx(501, abs=10)
    # Windows of ten that are each a tenth faster than the one before, for three seconds.
    falling, _ = timed(lambda i: 20 * 0.9 ** min(i // 10, 25))
    assert falling.settled
    assert falling.warmup_runs > 250
    assert falling.median_ms == pytest.approx(20 * 0.9**25)


def test_warm_up_that_never_settles_ends_and_says_so():
    result, call = timed(lambda i: 10.0 if i // 10 % 2 else 20.0)
    assert not result.settled
    assert sum(call.made[: result.warmup_runs]) == pytest.approx(20_000, rel=0.02)


@pytest.mark.parametrize(("taken_ms", "calls"), [(600.0, 19), (2500.0, 7), (15_000.0, 7)])
def test_slow_calls_settle_too_in_few_of_them(taken_ms, calls):
    result, _ = timed(lambda i: taken_ms, runs=3)
    assert result.settled
    assert result.warmup_runs == calls


def test_slow_calls_that_do_not_settle_end_after_two_windows():
    result, _ = timed(lambda i: 8000.0 if (i - 1) // 3 % 2 else 16_000.0, runs=3)
    assert (result.settled, result.warmup_runs) == (False, 7)


@pytest.mark.parametrize(("durations", "drift"), [(lambda i: 10.0, 1.0), (lambda i: 10.0 if i < 240 else 13.0, 1.3)])
def test_drift_compares_the_last_third_with_the_first(durations, drift):
    assert timed(durations)[0].drift == pytest.approx(drift)


def test_samples_are_all_calls_or_evenly_chosen_ones_in_order():
    few, call = timed(lambda i: 10 + i / 1000)
    assert list(few.samples_us) == [round(1000 * taken) for taken in call.made[few.warmup_runs :]]
    many, call = timed(lambda i: 1 + i / 10_000, runs=3000)
    assert len(many.samples_us) == KEPT_SAMPLES
    assert many.samples_us[0] == round(1000 * call.made[many.warmup_runs])
    assert many.samples_us[-1] == round(1000 * call.made[-1])
    assert list(many.samples_us) == sorted(many.samples_us)


def test_minutes_of_a_sustained_load():
    result, _ = timed(lambda i: 100.0 if i < 700 else 150.0, runs=200, seconds=150)
    assert result.minute_ms[0] == 100.0
    assert result.minute_ms[-1] == 150.0
    # The last one lasts half a minute.
    assert len(result.minute_ms) == 3
    assert timed(lambda i: 10.0)[0].minute_ms == ()


@pytest.mark.parametrize(("calls", "expected"), [(5900, (10.0,)), (2900, ())])
def test_a_minute_of_load_is_one_although_its_calls_take_a_little_less(calls, expected):
    assert summarize([10.0] * calls, first_ms=10.0, warmup_runs=1, settled=True).minute_ms == expected


def test_a_sample_of_several_calls_lasts_as_long_as_all_of_them():
    timed = summarize([10.0] * 1000 + [20.0] * 500, first_ms=10.0, warmup_runs=1, settled=True, calls=6)
    assert timed.minute_ms == (10.0, 20.0)


def test_real_clock_and_too_few_runs():
    assert measure(lambda: sum(range(2000)), runs=10, seconds=0.01).min_ms > 0
    with pytest.raises(UsageError, match="at least 3 runs"):
        measure(lambda: None, runs=2)
