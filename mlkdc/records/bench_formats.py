"""bench.json of formats 1 and 2 under the keys of format 3."""

from typing import Any

#: What speedups referred to before a row said so itself.
BASELINE = "torch eager"
DEVICE = "local"
WHY = "measured by an earlier version, which did not see contention"
WHY_UNSTABLE = f"{WHY}, and found it unstable"

#: Of a row's figures, in both formats.
FIGURES = ("median_ms", "p90_ms", "min_ms", "runs", "passes", "stable")


def from_format_1(values: dict[str, Any]) -> dict[str, Any]:
    """As format 2: the figures of a row stood next to its name."""
    rows = []
    for row in _listed(values):
        rows.append(_row_of_format_1(row))
    return {**values, "rows": rows}


def _row_of_format_1(row: Any) -> Any:
    if not isinstance(row, dict):
        return row  # the record says what is wrong with it
    names = ("name", "threads", "size_bytes", "speedup", "skipped")
    kept: dict[str, Any] = {key: row[key] for key in names if key in row}
    if row.get("skipped"):
        return kept
    return {**kept, "timing": {key: row[key] for key in FIGURES if key in row}}


def from_format_2(values: dict[str, Any]) -> dict[str, Any]:
    """As format 3: one device, whose name is ``local``; no turns, and no verdict but ``unknown``."""
    upgraded = dict(values)
    rows = _listed(values)
    versions = upgraded.pop("versions", {})
    device: dict[str, Any] = {"url": DEVICE, "versions": versions}
    if "machine" in upgraded:
        device["machine"] = upgraded.pop("machine")
    if isinstance(versions, dict):
        device["python"] = versions.get("python")
    return {
        **upgraded,
        "protocol": _protocol(rows),
        "devices": {DEVICE: device},
        "rows": [_row_of_format_2(row) for row in rows],
    }


def _listed(values: dict[str, Any]) -> list[Any]:
    rows = values.get("rows")
    # What is no list stays one row that the record refuses.
    return rows if isinstance(rows, list) else [rows]


def _protocol(rows: list[Any]) -> dict[str, Any]:
    """Passes and calls of the rows that were timed; no time was asked for."""
    passes, runs = [1], []
    for row in rows:
        timing = row.get("timing") if isinstance(row, dict) else None
        if isinstance(timing, dict):
            passes += [count for count in [timing.get("passes")] if isinstance(count, int)]
            runs += [count for count in [timing.get("runs")] if isinstance(count, int)]
    return {"passes": max(passes), "least_runs": min(runs, default=0), "least_seconds": 0.0}


def _row_of_format_2(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    upgraded = dict(row)
    if isinstance(row.get("timing"), dict):
        upgraded["timing"] = _timing_of_format_2(row["timing"])
    if row.get("speedup") is not None:
        upgraded["speedup"] = {"to": BASELINE, "value": row["speedup"]}
    return upgraded


def _timing_of_format_2(timing: dict[str, Any]) -> dict[str, Any]:
    """Calls were counted in one process, and are in all of them now; the 99th percentile is no longer kept."""
    upgraded = {key: timing[key] for key in timing if key not in ("p99_ms", "stable")}
    runs, passes = timing.get("runs"), timing.get("passes")
    if isinstance(runs, int) and isinstance(passes, int):
        upgraded["runs"] = runs * passes
    why = WHY_UNSTABLE if timing.get("stable") is False else WHY
    return {**upgraded, "verdict": "unknown", "why": why}
