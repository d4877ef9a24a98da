"""Small SVG charts. Colors and fonts come from the page's CSS classes, so that light and dark both work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from mlkdc.report.scale import Scale, value_scale

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 42
CHARACTER = 6.4  # about the width of one character at the charts' font size, in SVG units
COLORS = 6
#: A line with at most so many points has a dot with a tooltip on each; more would hide the line.
MOST_DOTS = 12

Point = tuple[float, float]
Spot = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Mark:
    """One labeled point of a scatter; ``group`` picks its color and shape."""

    x: float
    y: float
    label: str
    group: int


def line_chart(series: Mapping[str, Sequence[Point]], *, x_label: str, y_label: str, log: bool = False) -> Markup:
    """Lines by name over whole-numbered x. On a ``log`` scale points that are not positive are skipped.

    Args:
        series: (x, y) pairs in order of x; names are drawn as a legend below when there are several.
    """
    lines: dict[str, list[Point]] = {}
    xs: list[float] = []
    ys: list[float] = []
    for name, points in series.items():
        lines[name] = []
        for x, y in points:
            # Zero and less have no logarithm.
            if y > 0 or not log:
                lines[name].append((x, y))
                xs.append(x)
                ys.append(y)
    if not xs:
        return Markup()
    first, last = min(xs), max(xs)
    # One epoch: a scale needs a width.
    if first == last:
        first, last = first - 1, last + 1
    across = Scale(first, last, LEFT, WIDTH - RIGHT)
    up = value_scale(ys, HEIGHT - BOTTOM, TOP, log)
    body = _grid(across, up, x_label, y_label, whole=True)
    for number, (name, line) in enumerate(lines.items()):
        pixels = _pixels([(across(x), up(y)) for x, y in line])
        body.append(Markup('<polyline class="line s{}" points="{}"/>').format(number % COLORS, pixels))
        dotted = line
        if len(line) > MOST_DOTS:
            dotted = line[-1:]
        for x, y in dotted:
            body.append(_dot(across(x), up(y), number, f"{name}, {x_label} {x:g}: {y:g}", 2.6))
    return _svg(body, f"{y_label} by {x_label}: {', '.join(lines)}")


def scatter(marks: Sequence[Mark], *, x_label: str, y_label: str, least_span: float = 2.0) -> Markup:
    """Labeled points, x from zero; those of one label are joined, and it is written once.

    Args:
        least_span: the y axis covers at least that, so that noise stays small.
    """
    if not marks:
        return Markup()
    ys = [mark.y for mark in marks]
    middle, half = (min(ys) + max(ys)) / 2, max(least_span, (max(ys) - min(ys)) * 1.5) / 2
    # Some room at the right, where the labels of the slowest points go.
    across = Scale(0.0, max(mark.x for mark in marks) * 1.12, LEFT, WIDTH - RIGHT)
    up = Scale(middle - half, middle + half, HEIGHT - BOTTOM, TOP)
    body = _grid(across, up, x_label, y_label)
    taken: list[Spot] = []
    places: dict[str, list[Point]] = {}
    dots = []
    for mark in marks:
        x, y = across(mark.x), up(mark.y)
        taken.append((x - 6, y - 6, x + 6, y + 6))
        places.setdefault(mark.label, []).append((x, y))
        dots.append(_dot(x, y, mark.group, f"{mark.label}: {mark.x:.2f} ms, mAP {mark.y:.2f}", 5))
    for label, points in places.items():
        body += _joined_and_named(label, sorted(points), taken)
    # The dots come last, over lines and labels, so that each can be pointed at.
    return _svg(body + dots, f"{y_label} against {x_label}, {len(marks)} points")


def _joined_and_named(label: str, points: Sequence[Point], taken: list[Spot]) -> list[Markup]:
    """The line through the points of one label and the label, if it fits; adds what they cover to ``taken``."""
    parts = [Markup('<polyline class="link" points="{}"/>').format(_pixels(points))]
    for (left, one_y), (right, other_y) in pairwise(points):
        taken.append((left, min(one_y, other_y) - 1, right, max(one_y, other_y) + 1))
    for x, y in points:
        spot = _free_spot(x, y, label, taken)
        if spot is not None:
            taken.append(spot)
            text = Markup('<text class="name" x="{:.1f}" y="{:.1f}">{}</text>')
            parts.append(text.format(spot[0], spot[3] - 3, label))
            break
    return parts


def _free_spot(x: float, y: float, label: str, taken: Sequence[Spot]) -> Spot | None:
    """Where a label next to (x, y) fits without touching anything; None leaves it to the tooltip and the table."""
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


def _number(value: float) -> str:
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:g}"
    return f"{value:.0e}".replace("e-0", "e-")


def _pixels(points: Sequence[Point]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _grid(across: Scale, up: Scale, x_label: str, y_label: str, whole: bool = False) -> list[Markup]:
    right, base = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for tick in up.ticks():
        y = up(tick)
        line = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
        parts.append(line.format(LEFT, right, y, y))
        parts.append(_text("tick end", LEFT - 7, y + 4, _number(round(tick, 10))))
    for tick in across.ticks(6):
        if not whole or tick == int(tick):
            parts.append(_text("tick mid", across(tick), base + 17, _number(round(tick, 10))))
    parts.append(Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, right, base, base))
    parts.append(_text("label mid", (LEFT + right) / 2, HEIGHT - 5, x_label))
    parts.append(_text("label", 2, 11, y_label))
    return parts


def _text(css_class: str, x: float, y: float, text: str) -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(css_class, x, y, text)


def _dot(x: float, y: float, group: int, tip: str, size: float) -> Markup:
    """A circle, or from the second group on a square, a diamond: groups must not differ by color alone."""
    title, color = Markup("<title>{}</title>").format(tip), group % COLORS
    if size < 4 or group % 3 == 0:
        shape = Markup('<circle class="dot s{}" cx="{:.1f}" cy="{:.1f}" r="{}">{}</circle>')
        return shape.format(color, x, y, size, title)
    turn = Markup()
    if group % 3 == 2:
        turn = Markup(' transform="rotate(45 {:.1f} {:.1f})"').format(x, y)
    square = Markup('<rect class="dot s{}" x="{:.1f}" y="{:.1f}" width="{}" height="{}"{}>{}</rect>')
    return square.format(color, x - size + 0.5, y - size + 0.5, 2 * size - 1, 2 * size - 1, turn, title)


def _svg(body: Sequence[Markup], description: str) -> Markup:
    opening = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, escape(description))
    return opening + Markup("").join(body) + Markup("</svg>")
