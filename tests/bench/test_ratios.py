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


@pytest.mark.parametrize("passes", [1, 2, 3, 4])
def test_few_passes_have_no_interval(passes):
    few = speedup("a", turns([6] * passes), turns([3] * passes))
    assert (few.value, few.low, few.high) == (pytest.approx(2), None, None)


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(2)
    holds = []
    for _ in range(200):
        found = speedup("a", *(turns(np.exp(random.normal(0, 0.03, 5))) for _ in range(2)))
        holds.append(found.low <= 1 <= found.high)
    assert np.mean(holds) > 0.88


def test_no_pass_has_no_value():
    assert speedup("a", turns([]), turns([3])) is None


def test_a_pass_that_one_of_them_lacks_is_left_out():
    assert speedup("a", turns([6, 8]), turns([3])).value == pytest.approx(2)
