"""What all charts are drawn with. Colors and fonts come from the page's CSS classes, which know light and dark."""

import math
from collections.abc import Sequence

from markupsafe import Markup, escape

from mlkdc.report.scale import Scale

WIDTH, HEIGHT = 440, 270
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 42
CHARACTER = 6.4  # about the width of one character at the charts' font size, in SVG units
COLORS = 6
#: A smaller dot is a circle whatever its group: its shape could not be told.
SMALLEST_SHAPE = 4.0

Point = tuple[float, float]


def grid(across: Scale, up: Scale, x_label: str, y_label: str, whole: bool = False) -> list[Markup]:
    """Axes with their ticks and labels, x below and y at the left; ``whole`` leaves out fractions along x."""
    right, base = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = []
    for tick in up.ticks():
        y = up(tick)
        line = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
        parts.append(line.format(LEFT, right, y, y))
        parts.append(text("tick end", LEFT - 7, y + 4, short(tick)))
    for tick in across.ticks(6):
        if not whole or tick == int(tick):
            parts.append(text("tick mid", across(tick), base + 17, short(tick)))
    parts.append(Markup('<line class="axis" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(LEFT, right, base, base))
    parts.append(text("label mid", (LEFT + right) / 2, HEIGHT - 5, x_label))
    parts.append(text("label", 2, 11, y_label))
    return parts


def short(value: float) -> str:
    """A tick's number."""
    value = round(value, 10)
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:g}"
    return f"{value:.0e}".replace("e-0", "e-")


def pixels(points: Sequence[Point]) -> str:
    """The value of ``points`` of a polyline."""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def text(css_class: str, x: float, y: float, content: str) -> Markup:
    """One line of text that begins at x, or as the class says."""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>').format(css_class, x, y, content)


def dot(x: float, y: float, group: int, tip: str, radius: float) -> Markup:
    """A circle, or from the second group on a square, a diamond of the same area: color alone must not tell them."""
    title, color = Markup("<title>{}</title>").format(tip), group % COLORS
    if radius < SMALLEST_SHAPE or group % 3 == 0:
        shape = Markup('<circle class="dot s{}" cx="{:.1f}" cy="{:.1f}" r="{:.1f}">{}</circle>')
        return shape.format(color, x, y, radius, title)
    turn = Markup()
    if group % 3 == 2:
        turn = Markup(' transform="rotate(45 {:.1f} {:.1f})"').format(x, y)
    side = radius * math.sqrt(math.pi)
    square = Markup('<rect class="dot s{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"{}>{}</rect>')
    return square.format(color, x - side / 2, y - side / 2, side, side, turn, title)


def svg(body: Sequence[Markup], description: str, height: float = HEIGHT) -> Markup:
    """The drawing, which a screen reader reads as its description."""
    opening = Markup('<svg viewBox="0 0 {} {:g}" role="img" aria-label="{}">')
    return opening.format(WIDTH, height, escape(description)) + Markup("").join(body) + Markup("</svg>")
