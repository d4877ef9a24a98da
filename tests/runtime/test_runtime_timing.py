"""Timing with a clock that the test moves itself, so that every duration is known."""

import numpy as np
import pytest

from mlkdc.errors import UsageError
from mlkdc.records.bench import Timing
from mlkdc.runtime.timing import measure


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


def timed(durations, runs: int = 200) -> tuple[Timing, Call]:
    call = Call(durations)
    return measure(call, runs=runs, clock=call.clock), call


def test_quantiles_are_those_of_the_timed_runs_only():
    noise = np.random.default_rng(0).uniform(1.0, 1.2, 2000)
    result, call = timed(lambda i: noise[i] if i >= 10 else 50.0)
    timed_runs = call.made[result.warmup_runs :]
    assert len(timed_runs) == result.runs == 200
    for name, expected in {
        "median_ms": np.quantile(timed_runs, 0.5),
        "p90_ms": np.quantile(timed_runs, 0.9),
        "p99_ms": np.quantile(timed_runs, 0.99),
        "mean_ms": np.mean(timed_runs),
        "min_ms": np.min(timed_runs),
    }.items():
        assert getattr(result, name) == pytest.approx(expected, rel=1e-5), name
    assert result.min_ms <= result.median_ms <= result.p90_ms <= result.p99_ms < 1.2001
    assert result.stable


def test_warm_up_lasts_until_the_call_settles():
    assert timed(lambda i: 2.0)[0].warmup_runs == 20
    # each of the first six windows is a fifth faster than the one before
    falling, _ = timed(lambda i: 10 * 0.8 ** min(i // 10, 6))
    assert falling.warmup_runs == 80
    assert falling.stable
    assert falling.median_ms == pytest.approx(10 * 0.8**6)


def test_warm_up_that_never_settles_ends_and_is_unstable():
    result, _ = timed(lambda i: 1.2 ** (i // 10) * 1e-3 if i < 300 else 1.0)
    assert result.warmup_runs == 300
    assert not result.stable
    slow, _ = timed(lambda i: 1000.0 * 1.1 ** (i // 10), runs=2)
    assert slow.warmup_runs == 20, "the limit in seconds ends it before the limit in calls"


@pytest.mark.parametrize(
    "durations",
    [
        pytest.param(lambda i: 1.0 + i % 2, id="alternates"),
        pytest.param(lambda i: 1.0 if i < 120 else 1.2, id="slower half way"),
        pytest.param(lambda i: 3.0 if i % 5 == 0 else 1.0, id="every fifth run is slow"),
    ],
)
def test_disturbed_runs_are_called_unstable(durations):
    result, _ = timed(durations)
    assert result.warmup_runs < 300, "the warm-up is not what makes it unstable"
    assert not result.stable


def test_a_rare_outlier_shows_in_p99_and_does_not_spoil_the_median():
    result, _ = timed(lambda i: 9.0 if i % 50 == 49 else 1.0)
    assert result.stable
    assert result.median_ms == 1.0
    assert result.p99_ms > 5


def test_real_clock_and_too_few_runs():
    assert measure(lambda: sum(range(2000)), runs=10).min_ms > 0
    with pytest.raises(UsageError, match="at least 2 runs"):
        measure(lambda: None, runs=1)
