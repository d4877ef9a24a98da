"""Whether a row's timings can be relied on, and if not, why and what to do. docs/latency.md shows the experiments."""

from collections.abc import Sequence
from statistics import median

from mlkdc.figures import counted
from mlkdc.records.bench import Turn, Verdict

#: Of threads x wall time without a core. Alone: 0.00 to 0.02; next to busy neighbors: 0.34.
WAITED = 0.03
#: Of wall time with a core, at one thread, where waiting is not recorded. Alone: 0.96 and more; contended: 0.76.
CPU_FRACTION = 0.90
#: The last third of a turn's calls may take so much longer than the first.
DRIFT = 1.05
#: The clock after a turn may be so much lower than after another turn of the row.
CLOCK = 0.95
#: The turns' medians may lie so far apart, as a fraction of their median.
SPREAD = 0.10
#: Of fewer turns it is not known how far processes differ.
LEAST_TURNS = 3


def judge(turns: Sequence[Turn], threads: int) -> tuple[Verdict, str]:
    """The worst that can be said of a row's turns, and why.

    Neighbors and drift must show in half of a row's turns or more: the median over the turns is not moved by fewer,
    and where one was moved far, the spread shows it. What the firmware or the clock says of one turn counts.

    Args:
        turns: one or more.
        threads: that they used.

    Returns:
        The verdict, and a sentence; the sentence is empty for ``stable``.
    """
    disturbed = _disturbed(turns, threads)
    if why := _throttled(turns, threads, disturbed is not None):
        return "throttled", why
    if disturbed:
        return "disturbed", disturbed
    unsettled = sum(not turn.settled for turn in turns)
    if unsettled:
        late = f"{unsettled} of {len(turns)} turns had not come to a steady time when their warm-up ended"
        # More --seconds would not help: the warm-up does not depend on them.
        return "unsettled", f"{late}; close other programs and measure again; --sustained shows how it goes on"
    medians = [turn.median_ms for turn in turns]
    spread = (max(medians) - min(medians)) / median(medians)
    if spread > SPREAD:
        return "spread", f"its turns lie {spread:.0%} apart; close other programs and measure again, with more --passes"
    if len(turns) < LEAST_TURNS:
        few = f"only {counted(len(turns), 'process')}, at least {LEAST_TURNS} are needed to know the spread"
        return "unknown", f"{few}; measure again with more --passes"
    if not _contention_known(turns, threads):
        return "unknown", "the device does not say whether other work disturbed it"
    return "stable", ""


def _throttled(turns: Sequence[Turn], threads: int, disturbed: bool) -> str:
    for turn in turns:
        if turn.conditions.throttled:
            return f"the firmware reports {turn.conditions.throttled}; cool it, or give it a stronger power supply"
    clocks = [turn.conditions.mhz[1] for turn in turns if turn.conditions.mhz is not None]
    if clocks and min(clocks) < CLOCK * max(clocks):
        return f"its clock {_moved(clocks)} MHz; cool it, and fix its clock if you can"
    slower = sum(turn.drift is not None and turn.drift > DRIFT for turn in turns)
    # A neighbor that comes in the middle of a turn makes it slower at its end as well.
    if slower * 2 >= len(turns) and not disturbed:
        grew = f"{slower} of {len(turns)} turns grew more than {DRIFT - 1:.0%} slower to their end"
        if not _contention_known(turns, threads):
            return f"{grew}: it throttles, or other work came; cool it, close other programs, and measure again"
        return f"{grew}; cool it, see --cool-to"
    return ""


def _moved(clocks: Sequence[float]) -> str:
    """Between its extremes: it fell, unless the lowest came before the highest."""
    lowest, highest = min(clocks), max(clocks)
    if lowest in clocks[clocks.index(highest) :]:
        return f"fell from {highest:.0f} to {lowest:.0f}"
    return f"rose from {lowest:.0f} to {highest:.0f}"


def _disturbed(turns: Sequence[Turn], threads: int) -> str | None:
    waits = [turn.conditions.waited for turn in turns if turn.conditions.waited is not None]
    if waits:
        late = [fraction for fraction in waits if fraction > WAITED]
        what = "its threads waited {:.0%} of the time for a core; close other programs, or use fewer --threads, and"
        return _in_half(late, len(waits), what)
    if threads > 1:
        return None
    busy = [turn.conditions.cpu_fraction for turn in turns if turn.conditions.cpu_fraction is not None]
    shared = [fraction for fraction in busy if fraction < CPU_FRACTION]
    return _in_half(shared, len(busy), "it had a core for {:.0%} of the time only; close other programs and")


def _in_half(fractions: Sequence[float], turns: int, what: str) -> str | None:
    """What happened in so many of the turns, if it was in half of them or more."""
    if not fractions or 2 * len(fractions) < turns:
        return None
    return f"in {len(fractions)} of {counted(turns, 'turn')} {what.format(median(fractions))} measure again"


def _contention_known(turns: Sequence[Turn], threads: int) -> bool:
    for turn in turns:
        conditions = turn.conditions
        if conditions.waited is None and (threads > 1 or conditions.cpu_fraction is None):
            return False
    return True
