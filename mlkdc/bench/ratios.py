"""How many times as fast one row is as another, and how sure that is."""

import math
from collections.abc import Sequence

import numpy as np

from mlkdc.records.bench import Speedup, Turn

RESAMPLES = 2000
INTERVAL = (2.5, 97.5)
#: The interval is at most as wide as from the least to the largest of n passes, which has the true median in it with
#: probability 1 - 2^(1-n): 0.5 for 2, 0.75 for 3, 0.88 for 4, 0.94 for 5.
LEAST_PASSES = 5


def speedup(baseline: str, reference: Sequence[Turn], turns: Sequence[Turn]) -> Speedup | None:
    """The median over the passes of the baseline's time over this row's, paired by pass.

    A pass is what is resampled, not a call: calls of one process agree within 1 %, where processes differ by 60 %.

    Args:
        baseline: name of the row that it refers to.
        reference, turns: of both, in the order of the passes.

    Returns:
        With the 95 % bootstrap interval (percentiles) of the median log-ratio, from five passes on; None without a
        pass that both have.
    """
    logs = []
    for slow, fast in zip(reference, turns, strict=False):
        logs.append(math.log(slow.median_ms / fast.median_ms))
    if not logs:
        return None
    value = math.exp(float(np.median(logs)))
    if len(logs) < LEAST_PASSES:
        return Speedup(to=baseline, value=value)
    draws = np.random.default_rng(0).choice(logs, (RESAMPLES, len(logs)))
    low, high = np.exp(np.percentile(np.median(draws, axis=1), INTERVAL))
    return Speedup(to=baseline, value=value, low=float(low), high=float(high))
