"""Which artifact to ship on which device, for a budget of time and accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlkdc.figures import number
from mlkdc.figures import threads as threads_in_words
from mlkdc.records.bench import BenchFile, LatencyRow, RowTiming
from mlkdc.records.manifest import Manifest
from mlkdc.records.shipping import fault, is_of_earlier_files

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
        why: in a sentence; where none fits, what comes nearest, or why nothing can be shipped.
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


def recommend(figures: BenchFile, artifacts: Mapping[str, Manifest], budget: Budget) -> list[Recommendation]:
    """One recommendation for each device that mlkdc measured: of what fits, the most accurate; of equals, the fastest.

    What was exported again since, or has a :func:`mlkdc.records.shipping.fault`, is no candidate. A timing that is not
    stable is one, after the stable ones of the device: contention makes a model look slower than it is, not faster.

    Args:
        figures: measured.
        artifacts: that lie there now, by the names of their rows; the mAP of their parity checks is used where the
            device was not scored.
        budget: what is wanted.
    """
    listed = []
    for device in figures.devices:
        candidates, refused = [], []
        rows = [row for row in figures.rows if row.device == device]
        if rows and all(row.imported_from for row in rows):
            continue  # what ran there was not compared with the model
        for row in rows:
            slowest_ms = row.slowest_ms
            if not row.of_artifact or row.timing is None or slowest_ms is None:
                continue
            manifest = artifacts.get(row.name)
            if manifest is None:
                refused.append(f"{row.name} is not there any more, or cannot be read")
            elif is_of_earlier_files(row, manifest, figures.when):
                refused.append(f"{row.name} was exported again since, measure it again")
            elif why := fault(row, manifest.status):
                refused.append(f"{row.name} {why}")
            else:
                candidates.append(_Candidate(row, row.timing, slowest_ms, _map_percent(row, manifest)))
        listed.append(_of_device(device, candidates, budget) if candidates else _none(device, refused))
    return listed


def _map_percent(row: LatencyRow, manifest: Manifest) -> float | None:
    if row.accuracy is not None and row.accuracy.map_percent is not None:
        return row.accuracy.map_percent
    figures = manifest.parity.figures
    return figures.map_artifact_percent if figures else None


def _none(device: str, refused: Sequence[str]) -> Recommendation:
    """Where nothing is a candidate; ``refused``: why, of each row that was measured."""
    if not refused:
        return Recommendation(device, None, "no artifact was measured there")
    why = "; ".join(dict.fromkeys(refused))
    return Recommendation(device, None, f"nothing that was measured there can be shipped: {why}")


def _of_device(device: str, candidates: Sequence[_Candidate], budget: Budget) -> Recommendation:
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
