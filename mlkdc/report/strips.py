"""Every call that was timed: one lane for each process, on one logarithmic scale for a device."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from markupsafe import Markup

from mlkdc.records.bench import Turn
from mlkdc.report.labels import fitted
from mlkdc.report.scale import Scale, value_scale
from mlkdc.report.svg import COLORS, RIGHT, WIDTH, short, svg, text

LEFT = 8
LANE, TITLE, GAP, AXIS = 12.0, 17.0, 7.0, 20.0
#: Width of a bar, in SVG units.
BIN = 2.0
#: The height of a bar that holds a single call.
LEAST = 1.5


@dataclass(frozen=True)
class Strip:
    """One row.

    Args:
        title: above its lanes.
        group: picks the color.
        turns: one lane each.
    """

    title: str
    group: int
    turns: Sequence[Turn]


def strip_chart(strips: Sequence[Strip], x_label: str) -> Markup:
    """Call times of the turns in milliseconds, with the median of each marked."""
    if not strips:
        return Markup()
    across = value_scale(list(chain.from_iterable(map(_values, strips))), LEFT, WIDTH - RIGHT, log=True)
    body: list[Markup] = []
    y = AXIS
    for strip in strips:
        body.append(text("name", LEFT, y + TITLE - 5, fitted(strip.title, WIDTH - LEFT - RIGHT)))
        y += TITLE
        for turn in strip.turns:
            y += LANE
            body.append(_lane(turn, strip, across, y))
        y += GAP
    lines = [_axis(across, y, x_label)]
    described = f"{x_label} of single calls: {'; '.join(strip.title for strip in strips)}"
    return svg(lines + body, described, y + 2 * AXIS)


def _values(strip: Strip) -> list[float]:
    values = []
    for turn in strip.turns:
        values.append(turn.median_ms)
        values += [sample / 1000 for sample in turn.samples_us if sample > 0]
    return values


def _lane(turn: Turn, strip: Strip, across: Scale, base: float) -> Markup:
    """A histogram of one process and its median."""
    counts = Counter(int(across(sample / 1000) / BIN) for sample in turn.samples_us if sample > 0)
    tallest = max(counts.values(), default=1)
    bars = []
    for place, count in sorted(counts.items()):
        # By the root, so that a single slow call can still be seen.
        height = max(LEAST, (LANE - 2) * math.sqrt(count / tallest))
        bars.append(f"M{place * BIN + BIN / 2:g} {base:.1f}v-{height:.1f}")
    tip = f"{strip.title}: median {turn.median_ms:.2f} ms, {turn.runs} calls"
    lane = Markup('<g class="lane"><title>{}</title><path class="calls s{}" d="{}"/>{}</g>')
    median = Markup('<path class="median" d="M{:.1f} {:.1f}v-{:.1f}"/>').format(across(turn.median_ms), base, LANE - 1)
    return lane.format(tip, strip.group % COLORS, "".join(bars), median)


def _axis(across: Scale, base: float, x_label: str) -> Markup:
    parts = []
    for tick in across.ticks():
        x = across(tick)
        line = Markup('<line class="grid" x1="{:.1f}" x2="{:.1f}" y1="{:g}" y2="{:.1f}"/>')
        parts.append(line.format(x, x, AXIS - 4, base))
        for y in (AXIS - 8, base + 15):
            parts.append(text("tick mid", x, y, short(tick)))
    parts.append(text("label mid", WIDTH / 2, base + 2 * AXIS - 5, x_label))
    return Markup("").join(parts)
