"""Axes: from values to pixels, and the round numbers written along them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Round numbers that are a little off after floating-point arithmetic still count as within the scale.
SLACK = 1e-9


@dataclass(frozen=True)
class Scale:
    """Maps values between ``low`` and ``high`` to pixels between ``start`` and ``end``, evenly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round numbers within the scale; ``about`` so many of them where it is even."""
        candidates = _even_ticks(self.low, self.high, about)
        if self.log:
            candidates = _log_ticks(self.low, self.high)
        lowest, highest = self.low * (1 - SLACK), self.high * (1 + SLACK)
        return [tick for tick in candidates if lowest <= tick <= highest]


def value_scale(values: Sequence[float], start: float, end: float, log: bool) -> Scale:
    """A scale that begins and ends at round numbers around ``values``."""
    low, high = min(values), max(values)
    if log:
        # A bound is rounded down by rounding its inverse up.
        return Scale(1 / round_step(1 / (low * 0.999)), round_step(high * 1.001), start, end, log=True)
    # Zero is shown unless that would press the values into the upper part of the chart.
    if 0 <= low < high * 0.6 or low == high:
        low = 0.0
    span = (high - low) or abs(high) or 1.0
    step = round_step(span / 5)
    return Scale(math.floor(low / step) * step, math.ceil((low + span) / step) * step, start, end)


def round_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    for factor in (1, 2, 5):
        if factor * power >= rough * (1 - SLACK):
            return factor * power
    return 10 * power


def _even_ticks(low: float, high: float, about: int) -> list[float]:
    step = round_step((high - low) / about)
    first, last = math.ceil(low / step - SLACK), math.floor(high / step + SLACK)
    return [number * step for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors: tuple[int, ...] = (1,)
    if last - first <= 2:
        # So few powers of ten would leave the axis almost without numbers.
        factors = (1, 2, 5)
    ticks = []
    for power in range(first, last + 1):
        for factor in factors:
            ticks.append(factor * 10.0**power)
    return ticks
