"""Which artifact to ship on which device, for a budget of time and accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlkdc.figures import number
from mlkdc.figures import threads as threads_in_words
from mlkdc.records.bench import BenchFile, LatencyRow, RowTiming

#: Verdicts as a sentence says them, where the word alone is none.
STATES = {"spread": "spread out", "unknown": "of unknown quality"}


@dataclass(frozen=True)
class Budget:
    """What is wanted.

    Args:
        milliseconds: a call may take, in the slowest of the turns' medians.
        map_percent: that it has at least; None = any.
    """

    milliseconds: float
    map_percent: float | None = None


@dataclass(frozen=True)
class Recommendation:
    """For one device.

    Args:
        row: to ship; None where none fits.
        why: in a sentence; where none fits, what comes nearest.
    """

    device: str
    row: LatencyRow | None
    why: str


@dataclass(frozen=True)
class _Candidate:
    row: LatencyRow
    timing: RowTiming
    slowest_ms: float
    map_percent: float | None


def recommend(figures: BenchFile, known_map: Mapping[str, float | None], budget: Budget) -> list[Recommendation]:
    """One recommendation for each device that mlkdc measured: of what fits, the most accurate; of equals, the fastest.

    What answered otherwise than the torch model is no candidate. A timing that is not stable is one, after the stable
    ones of the device: contention makes a model look slower than it is, not faster.

    Args:
        figures: measured.
        known_map: mAP in percent by name of the artifact, from its parity check; used where the device was not scored.
        budget: what is wanted.
    """
    listed = []
    for device in figures.devices:
        candidates = []
        rows = [row for row in figures.rows if row.device == device]
        if rows and all(row.imported_from for row in rows):
            continue  # what ran there was not compared with the model
        for row in rows:
            slowest_ms = row.slowest_ms
            if row.precision is None or row.timing is None or slowest_ms is None or not _is_the_model(row):
                continue
            measured = row.accuracy.map_percent if row.accuracy else None
            percent = measured if measured is not None else known_map.get(row.name)
            candidates.append(_Candidate(row, row.timing, slowest_ms, percent))
        listed.append(_of_device(device, candidates, budget))
    return listed


def _is_the_model(row: LatencyRow) -> bool:
    return row.accuracy is None or row.accuracy.within_tolerance is not False


def _of_device(device: str, candidates: Sequence[_Candidate], budget: Budget) -> Recommendation:
    if not candidates:
        return Recommendation(device, None, "no artifact was measured there")
    fitting = [candidate for candidate in candidates if _excess(candidate, budget) == 0]
    if fitting:
        best = max(fitting, key=_rank)
        return Recommendation(device, best.row, _reason(best, max(fitting, key=_merit), budget))
    nearest = min(candidates, key=lambda candidate: _excess(candidate, budget))
    wanted = f"{budget.milliseconds:g} ms"
    if budget.map_percent is not None:
        wanted += f" and mAP {budget.map_percent:g}"
    return Recommendation(device, None, f"none fits {wanted}; {_described(nearest)} comes nearest{_doubt(nearest)}")


def _reason(best: _Candidate, rival: _Candidate, budget: Budget) -> str:
    """Why the best of what fits is named; the rival is better where its timing, which is not stable, holds."""
    among = after = ""
    more_accurate = _merit(rival)[0] > _merit(best)[0]
    if more_accurate or (best.map_percent is None and rival is not best):
        among = " of the stable timings"
        better = "more accurate" if more_accurate else "faster"
        after = f"; {_described(rival)} is {better}, but its timing is {_state(rival)}: measure it again"
    reason = f"the highest mAP{among}" if best.map_percent is not None else f"the fastest{among}, of unknown mAP,"
    return f"{_described(best)}: {reason} within {budget.milliseconds:g} ms{after}{_doubt(best)}"


def _doubt(candidate: _Candidate) -> str:
    """What is said of a timing that is not stable: it may be a slower one than the artifact's."""
    if candidate.timing.stable:
        return ""
    return f"; its timing is {_state(candidate)}, measure again before you rely on it"


def _state(candidate: _Candidate) -> str:
    return STATES.get(candidate.timing.verdict, candidate.timing.verdict)


def _rank(candidate: _Candidate) -> tuple[bool, float, float]:
    return candidate.timing.stable, *_merit(candidate)


def _merit(candidate: _Candidate) -> tuple[float, float]:
    """Accurate, then fast, whatever is to be thought of its timing."""
    percent = candidate.map_percent if candidate.map_percent is not None else -1.0
    # Two decimals: what differs by less is the same mAP.
    return round(percent, 2), -candidate.slowest_ms


def _excess(candidate: _Candidate, budget: Budget) -> float:
    """By how much it misses the budget, as a fraction, time and accuracy together; 0 where it fits."""
    excess = max(0.0, candidate.slowest_ms / budget.milliseconds - 1)
    # Any accuracy is at least 0.
    if budget.map_percent:
        if candidate.map_percent is None:
            return excess + 1
        excess += max(0.0, 1 - candidate.map_percent / budget.map_percent)
    return excess


def _described(candidate: _Candidate) -> str:
    accuracy = f"mAP {number(candidate.map_percent)}"
    threads = threads_in_words(candidate.row.threads)
    return f"{candidate.row.name} ({number(candidate.slowest_ms)} ms with {threads}, {accuracy})"
