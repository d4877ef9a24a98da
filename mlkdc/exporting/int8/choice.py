"""Which of several int8 artifacts to ship, by how each compares with the torch model on some images."""

from collections.abc import Sequence

from mlkdc.records.parity import Parity

# Of what is allowed. On other images some figures are worse: a step that uses all that is allowed on these breaks its
# limits on every fourth random half of the images, one that leaves a fifth on every seventh (benchmarks/promise.py).
MARGIN = 0.8
# A limit of zero would make every loss infinite, and all steps equally bad.
SMALLEST_LIMIT_POINTS = 0.01


def choose(compared: Sequence[Parity]) -> int:
    """The position of the first that holds its limits with a margin; else of the first that holds them; else of the one
    that loses least.

    Args:
        compared: at least one, in the order of what they cost on the device.
    """
    holding = [position for position, parity in enumerate(compared) if parity.passed]
    for position in holding:
        if with_margin(compared[position]):
            return position
    if holding:
        return holding[0]
    losses = [loss(parity) for parity in compared]
    return losses.index(min(losses))


def with_margin(parity: Parity) -> bool:
    """Whether all limits hold, and the drops are at most ``MARGIN`` of what is allowed."""
    return bool(parity.passed) and loss(parity) <= MARGIN


def loss(parity: Parity) -> float:
    """How many times the allowed drop, of mAP or of the worst class; without finite answers everything is lost."""
    if parity.comparison is None or parity.comparison.figures is None:
        return float("inf")
    figures, allowed = parity.comparison.figures, parity.comparison.tolerance
    map_loss = figures.map_drop_points / max(allowed.map_drop_points, SMALLEST_LIMIT_POINTS)
    class_loss = figures.worst_class_drop_points / max(allowed.class_drop_points, SMALLEST_LIMIT_POINTS)
    return max(map_loss, class_loss)
