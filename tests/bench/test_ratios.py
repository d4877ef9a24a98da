"""Speedups and their intervals, next to SciPy's bootstrap."""

import numpy as np
import pytest
from fake_device import turn
from scipy.stats import bootstrap

from mlkdc.bench.ratios import speedup


def turns(medians):
    return [turn(float(value)) for value in medians]


def test_value_and_interval_agree_with_scipy():
    random = np.random.default_rng(1)
    slow, fast = random.uniform(9, 11, 9), random.uniform(4, 6, 9)
    logs = np.log(slow / fast)
    expected = bootstrap((logs,), np.median, n_resamples=20_000, method="percentile", random_state=0, axis=-1)
    found = speedup("torch eager", turns(slow), turns(fast))
    assert found.value == pytest.approx(np.exp(np.median(logs)))
    assert found.low == pytest.approx(np.exp(expected.confidence_interval.low), rel=0.03)
    assert found.high == pytest.approx(np.exp(expected.confidence_interval.high), rel=0.03)


def test_a_slow_minute_falls_out_of_paired_passes():
    slow_minute = np.array([1, 1, 3, 1, 1.0])
    found = speedup("a", turns(8 * slow_minute), turns(4 * slow_minute))
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))


def test_one_pass_has_no_interval_and_none_no_value():
    single = speedup("a", turns([6]), turns([3]))
    assert (single.value, single.low, single.high) == (pytest.approx(2), None, None)
    assert speedup("a", turns([]), turns([3])) is None


def test_a_pass_that_one_of_them_lacks_is_left_out():
    assert speedup("a", turns([6, 8]), turns([3])).value == pytest.approx(2)
