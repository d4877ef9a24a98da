"""Which of several int8 artifacts to ship, by how each compares with the torch model on some images."""

from collections.abc import Sequence

from mlkdc.records.parity import Parity

# Of what is allowed. On other images some figures are worse, so steps that lose little are looked for first: limits
# that a random half of the images held broke on the other half 18 times of 80 where all that is allowed could be used,
# and 11 times with these shares, which were chosen with another student (benchmarks/results/promise.json).
SHARES = (0.5, 0.75, 1.0)
MARGIN = SHARES[0]
# A limit of zero would make every loss infinite, and all steps equally bad.
SMALLEST_LIMIT_POINTS = 0.01


def choose(compared: Sequence[Parity]) -> int:
    """The position of the first that holds its limits and uses half of what is allowed, else three quarters, else all;
    where none holds, of the one that loses least.

    Args:
        compared: at least one, in the order of what they cost on the device.
    """
    losses = [loss(parity) for parity in compared]
    for share in SHARES:
        for position, parity in enumerate(compared):
            if parity.passed and losses[position] <= share:
                return position
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
