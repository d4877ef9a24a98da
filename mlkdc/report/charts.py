"""Lines over whole-numbered x: epochs, minutes."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from mlkdc.report.scale import Scale, value_scale
from mlkdc.report.svg import BOTTOM, COLORS, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Point, dot, grid, pixels, svg

#: A line with at most so many points has a dot with a tooltip on each; more would hide the line.
MOST_DOTS = 12


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
    body = grid(across, up, x_label, y_label, whole=True)
    for number, (name, line) in enumerate(lines.items()):
        corners = pixels([(across(x), up(y)) for x, y in line])
        body.append(Markup('<polyline class="line s{}" points="{}"/>').format(number % COLORS, corners))
        dotted = line
        if len(line) > MOST_DOTS:
            dotted = line[-1:]
        for x, y in dotted:
            body.append(dot(across(x), up(y), number, f"{name}, {x_label} {x:g}: {y:g}", 2.6))
    return svg(body, f"{y_label} by {x_label}: {', '.join(lines)}")
