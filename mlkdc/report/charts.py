"""Small SVG charts. Colors and fonts come from the page's CSS classes, so that light and dark both work."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 42
CHARACTER = 6.4  # about the width of one character at the charts' font size, in SVG units

Point = tuple[float, float]


@dataclass(frozen=True)
class Mark:
    """One labeled point of a scatter; ``group`` picks its color and shape."""

    x: float
    y: float
    label: str
    group: int


@dataclass(frozen=True)
class Scale:
    """Maps values between ``low`` and ``high`` to pixels between ``start`` and ``end``, evenly or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log10(item) if self.log else item for item in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round numbers within the scale."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            factors = (1, 2, 5) if last - first <= 2 else (1,)
            within = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        else:
            step = round_step((self.high - self.low) / about)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            within = [number * step for number in range(first, last + 1)]
        return [tick for tick in within if self.low * (1 - 1e-9) <= tick <= self.high * (1 + 1e-9)]


def round_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def line_chart(
    series: Mapping[str, Sequence[Point]], *, x_label: str, y_label: str, log: bool = False, digits: int = 0
) -> Markup:
    """Lines by name over whole-numbered x. On a ``log`` scale points that are not positive are left out.

    Args:
        series: (x, y) pairs in order of x; names are drawn as a legend below when there are several.
        digits: decimals of the y values' tooltips; ticks show what they need.
    """
    shown = {name: [(x, y) for x, y in points if not log or y > 0] for name, points in series.items() if points}
    values = [point for points in shown.values() for point in points]
    if not values:
        return Markup()
    first, last = min(x for x, _ in values), max(x for x, _ in values)
    across = Scale(first - (first == last), last + (first == last), LEFT, WIDTH - RIGHT)
    up = _vertical([y for _, y in values], log)
    body = _grid(across, up, x_label, y_label, whole=True)
    for number, (name, points) in enumerate(shown.items()):
        pixels = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        body.append(Markup('<polyline class="line s{}" points="{}"/>').format(number % 6, pixels))
        for x, y in points if len(points) <= 12 else points[-1:]:
            tip = f"{name}, {x_label} {x:g}: {y:.{digits}f}" if digits else f"{name}, {x_label} {x:g}: {y:g}"
            body.append(_dot(across(x), up(y), number, tip, 2.6))
    return _svg(body, f"{y_label} by {x_label}: {', '.join(shown)}")


def scatter(marks: Sequence[Mark], *, x_label: str, y_label: str, least_span: float = 2.0) -> Markup:
    """Labeled points, x from zero; those of one label are joined, and it is written once.

    Args:
        least_span: the y axis covers at least that, so that noise stays small.
    """
    if not marks:
        return Markup()
    widest = max(mark.x for mark in marks)
    across = Scale(0.0, widest * 1.12, LEFT, WIDTH - RIGHT)
    low, high = min(mark.y for mark in marks), max(mark.y for mark in marks)
    middle, half = (low + high) / 2, max(least_span, (high - low) * 1.5) / 2
    up = Scale(middle - half, middle + half, HEIGHT - BOTTOM, TOP)
    body = _grid(across, up, x_label, y_label)
    places = [(across(mark.x), up(mark.y), mark) for mark in marks]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y, _ in places]
    for label in dict.fromkeys(mark.label for mark in marks):
        same = sorted(((x, y) for x, y, mark in places if mark.label == label))
        pixels = " ".join(f"{x:.1f},{y:.1f}" for x, y in same)
        body.append(Markup('<polyline class="link" points="{}"/>').format(pixels))
        taken += [(a, min(b, d) - 1, c, max(b, d) + 1) for (a, b), (c, d) in pairwise(same)]
        spot = next((free for x, y in same if (free := _free_spot(x, y, label, taken))), None)
        if spot:
            taken.append(spot)
            text = Markup('<text class="name" x="{:.1f}" y="{:.1f}">{}</text>')
            body.append(text.format(spot[0], spot[3] - 3, label))
    for x, y, mark in places:
        body.append(_dot(x, y, mark.group, f"{mark.label}: {mark.x:.2f} ms, mAP {mark.y:.2f}", 5))
    return _svg(body, f"{y_label} against {x_label}, {len(marks)} points")


Spot = tuple[float, float, float, float]  # left, top, right, bottom


def _free_spot(x: float, y: float, label: str, taken: Sequence[Spot]) -> Spot | None:
    """Where a label beside (x, y) fits without touching anything; None leaves it to the tooltip and the table."""
    wide, tall = len(label) * CHARACTER, 14.0
    above, below = y - 21, y + 8
    center = [(x + 9, y - 7), (x - 9 - wide, y - 7), (x - wide / 2, above), (x - wide / 2, below)]
    corners = [(x - 6, above), (x - 6, below), (x + 6 - wide, above), (x + 6 - wide, below)]
    for left, top in center + corners:
        spot = (left, top, left + wide, top + tall)
        inside = left >= LEFT and spot[2] <= WIDTH and top >= 0 and spot[3] <= HEIGHT - BOTTOM
        if inside and not any(_touch(spot, other) for other in taken):
            return spot
    return None


def _touch(one: Spot, two: Spot) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]


def _vertical(values: Sequence[float], log: bool) -> Scale:
    low, high = min(values), max(values)
    if log:
        return Scale(1 / round_step(1 / (low * 0.999)), round_step(high * 1.001), HEIGHT - BOTTOM, TOP, log=True)
    low = 0.0 if 0 <= low < high * 0.6 or low == high else low
    span = (high - low) or abs(high) or 1.0
    step = round_step(span / 5)
    return Scale(math.floor(low / step) * step, math.ceil((low + span) / step) * step, HEIGHT - BOTTOM, TOP)


def _number(value: float) -> str:
    return f"{value:g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.0e}".replace("e-0", "e-")


def _grid(across: Scale, up: Scale, x_label: str, y_label: str, whole: bool = False) -> list[Markup]:
    text: Callable[..., str] = Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format
    parts = []
    for tick in up.ticks():
        y = up(tick)
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(LEFT, WIDTH - RIGHT, y, y)
        )
        parts.append(Markup(text("tick end", LEFT - 7, y + 4, _number(round(tick, 10)))))
    for tick in across.ticks(6):
        if not whole or tick == int(tick):
            parts.append(Markup(text("tick mid", across(tick), HEIGHT - BOTTOM + 17, _number(round(tick, 10)))))
    base = HEIGHT - BOTTOM
    parts.append(Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, WIDTH - RIGHT, base, base))
    parts.append(Markup(text("label mid", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, x_label)))
    parts.append(Markup(text("label", 2, 11, y_label)))
    return parts


def _dot(x: float, y: float, group: int, tip: str, size: float) -> Markup:
    """A circle, or from the second group on a square, a diamond: not told by color alone."""
    title = Markup("<title>{}</title>").format(tip)
    if size < 4 or group % 3 == 0:
        shape = Markup('<circle class="dot s{}" cx="{:.1f}" cy="{:.1f}" r="{}">{}</circle>')
        return shape.format(group % 6, x, y, size, title)
    turn = Markup(' transform="rotate(45 {:.1f} {:.1f})"').format(x, y) if group % 3 == 2 else Markup()
    square = Markup('<rect class="dot s{}" x="{:.1f}" y="{:.1f}" width="{}" height="{}"{}>{}</rect>')
    return square.format(group % 6, x - size + 0.5, y - size + 0.5, 2 * size - 1, 2 * size - 1, turn, title)


def _svg(body: Sequence[Markup], description: str) -> Markup:
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, escape(description))
    return opening + Markup("").join(body) + Markup("</svg>")
