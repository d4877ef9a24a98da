"""Accuracy against latency: size as area, the turns as whiskers, the Pareto front as a line."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from mlkdc.report.labels import Spot, fitted, free_spot
from mlkdc.report.scale import Scale
from mlkdc.report.svg import BOTTOM, HEIGHT, LEFT, RIGHT, SMALLEST_SHAPE, TOP, WIDTH, Point, dot, grid, pixels, svg

#: Radius of the largest file's mark, in SVG units.
LARGEST = 9.0
WIDEST_NAME = 160.0
#: Latencies that differ by more than this factor are drawn by logarithm; else the fast ones lie on one spot.
LOG_RANGE = 4


@dataclass(frozen=True)
class Mark:
    """One row.

    Args:
        x: median latency.
        y: accuracy.
        low, high: the fastest and the slowest turn's median.
        label: written next to it; marks of one label are joined.
        tip: shown when it is pointed at.
        group: picks color and shape.
        size_bytes: its area; None where that means nothing.
        ships: whether it can be on the front.
    """

    x: float
    y: float
    low: float
    high: float
    label: str
    tip: str
    group: int
    size_bytes: int | None = None
    ships: bool = True


def front(marks: Sequence[Mark]) -> list[Mark]:
    """Marks that no other is at least as good as in both and better in one, from the fastest on."""
    candidates = [mark for mark in marks if mark.ships]
    best = [mark for mark in candidates if not any(_better(other, mark) for other in candidates)]
    return sorted(best, key=lambda mark: (mark.x, mark.y))


def _better(one: Mark, other: Mark) -> bool:
    return one.x <= other.x and one.y >= other.y and (one.x, one.y) != (other.x, other.y)


def pareto_plot(marks: Sequence[Mark], *, x_label: str, y_label: str, least_span: float = 2.0) -> Markup:
    """Labeled marks, x from zero, or by logarithm where it spans much.

    Args:
        least_span: the y axis covers at least that, so that noise stays small.
    """
    if not marks:
        return Markup()
    ys = [mark.y for mark in marks]
    middle, half = (min(ys) + max(ys)) / 2, max(least_span, (max(ys) - min(ys)) * 1.5) / 2
    across = _latency_scale(marks)
    if across.log:
        x_label += " (log scale)"
    up = Scale(middle - half, middle + half, HEIGHT - BOTTOM, TOP)
    largest = max([mark.size_bytes or 0 for mark in marks])
    places = [_Place(mark, across(mark.x), up(mark.y), _radius(mark, largest)) for mark in marks]
    best = [(across(mark.x), up(mark.y)) for mark in front(marks)]
    body = grid(across, up, x_label, y_label)
    body.append(Markup('<polyline class="front" points="{}"/>').format(pixels(best)))
    taken: list[Spot] = []
    for place in places:
        left, right = across(place.mark.low), across(place.mark.high)
        body.append(_whisker(left, right, place.y))
        taken.append((left, place.y - 3, right, place.y + 3))
        taken.append((place.x - place.radius, place.y - place.radius, place.x + place.radius, place.y + place.radius))
    for label in dict.fromkeys(mark.label for mark in marks):
        body += _joined_and_named(label, [place for place in places if place.mark.label == label], taken)
    # The marks come last, over lines and labels, so that each can be pointed at; of them the smallest.
    for place in sorted(places, key=lambda place: -place.radius):
        shape = dot(place.x, place.y, place.mark.group, place.mark.tip, place.radius)
        body.append(Markup('<g class="mark">{}</g>').format(shape))
    described = f"{y_label} against {x_label}: {'; '.join(mark.tip for mark in marks)}"
    return svg(body, described)


def _latency_scale(marks: Sequence[Mark]) -> Scale:
    """With some room at the right, where the labels of the slowest marks go."""
    low, high = min(mark.low for mark in marks), max(mark.high for mark in marks)
    if high > LOG_RANGE * low:
        return Scale(low / 1.25, high * 1.4, LEFT, WIDTH - RIGHT, log=True)
    return Scale(0.0, high * 1.12, LEFT, WIDTH - RIGHT)


@dataclass(frozen=True)
class _Place:
    """A mark in pixels."""

    mark: Mark
    x: float
    y: float
    radius: float


def _radius(mark: Mark, largest: int) -> float:
    if not mark.size_bytes:
        return SMALLEST_SHAPE
    return max(SMALLEST_SHAPE, LARGEST * math.sqrt(mark.size_bytes / largest))


def _whisker(left: float, right: float, y: float) -> Markup:
    path = '<path class="whisker" d="M{:.1f} {:.1f}v6m0 -3H{:.1f}m0 -3v6"/>'
    return Markup(path).format(left, y - 3, right)


def _joined_and_named(label: str, places: Sequence[_Place], taken: list[Spot]) -> list[Markup]:
    """The line through the marks of one label and the label, if it fits; adds what they cover to ``taken``."""
    ordered = sorted(places, key=lambda place: (place.x, place.y))
    points: list[Point] = [(place.x, place.y) for place in ordered]
    parts = [Markup('<polyline class="link" points="{}"/>').format(pixels(points))]
    for (left, one_y), (right, other_y) in pairwise(points):
        taken.append((left, min(one_y, other_y) - 1, right, max(one_y, other_y) + 1))
    name = fitted(label, WIDEST_NAME)
    for place in ordered:
        spot = free_spot(place.x, place.y, place.radius, name, taken)
        if spot is not None:
            taken.append(spot)
            text = Markup('<text class="name" x="{:.1f}" y="{:.1f}">{}</text>')
            parts.append(text.format(spot[0], spot[3] - 3, name))
            break
    return parts
