"""Names next to points, where there is room for them."""

from collections.abc import Sequence

from mlkdc.report.svg import BOTTOM, CHARACTER, HEIGHT, LEFT, WIDTH

Spot = tuple[float, float, float, float]  # left, top, right, bottom

#: Height of a line of text.
TALL = 14.0


def fitted(name: str, wide: float) -> str:
    """A name that is not wider; where it is too long its end, which tells rows apart."""
    most = int(wide / CHARACTER)
    if len(name) <= most:
        return name
    return f"…{name[-most + 1 :]}"


def free_spot(x: float, y: float, radius: float, label: str, taken: Sequence[Spot]) -> Spot | None:
    """Where a label next to a mark fits without touching anything; None leaves it to the tooltip and the table."""
    wide, away = len(label) * CHARACTER, radius + 4
    above, below = y - radius - TALL - 2, y + radius + 2
    center = [(x + away, y - TALL / 2), (x - away - wide, y - TALL / 2), (x - wide / 2, above), (x - wide / 2, below)]
    corners = [(x - 6, above), (x - 6, below), (x + 6 - wide, above), (x + 6 - wide, below)]
    for left, top in center + corners:
        spot = (left, top, left + wide, top + TALL)
        inside = left >= LEFT and spot[2] <= WIDTH and top >= 0 and spot[3] <= HEIGHT - BOTTOM
        if inside and not any(_touch(spot, other) for other in taken):
            return spot
    return None


def _touch(one: Spot, two: Spot) -> bool:
    return one[0] < two[2] and two[0] < one[2] and one[1] < two[3] and two[1] < one[3]
