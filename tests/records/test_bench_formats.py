"""bench.json of earlier formats, and rows that are older than an artifact's files."""

import json
from pathlib import Path

import pytest
from old_formats import BENCH_1, BENCH_2, FASTER, FIGURES_2
from samples import make_manifest

from mlkdc.records.bench import BenchFile, LatencyRow, RowTiming, Speedup
from mlkdc.records.shipping import is_of_earlier_files


def test_bench_of_format_1_is_read(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(BENCH_1))
    timed, broken = BenchFile.load(tmp_path).rows
    assert timed.timing is not None
    assert (timed.timing.median_ms, timed.timing.passes, timed.timing.runs) == (2.0, 3, 600)
    assert timed.speedup == Speedup(to="torch eager", value=2.5)
    assert broken == LatencyRow(name="broken", threads=1, skipped="no runtime")


def test_bench_of_format_2_is_read_and_written_as_format_3(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(BENCH_2))
    bench = BenchFile.load(tmp_path)
    assert list(bench.devices) == ["local"]
    local = bench.devices["local"]
    assert (local.machine.cores, local.versions, local.python) == (2, {"python": "3.11.7", "torch": "2.14"}, "3.11.7")
    assert (bench.protocol.passes, bench.protocol.least_runs, bench.protocol.least_seconds) == (3, 200, 0)
    timed, shaky, broken = bench.rows
    assert (timed.device, timed.turns, timed.accuracy, timed.speedup) == ("local", (), None, Speedup(**FASTER))
    timing = {"median_ms": 2.0, "p90_ms": 3.0, "min_ms": 1.0, "runs": 600, "passes": 3, "verdict": "unknown"}
    assert timed.timing == RowTiming(**timing, why="measured by an earlier version, which did not see contention")
    assert shaky.timing is not None
    assert (shaky.timing.verdict, shaky.timing.why.endswith("and found it unstable")) == ("unknown", True)
    assert (broken.timing, broken.speedup, broken.skipped) == (None, None, "no runtime")
    bench.save(tmp_path)
    assert json.loads((tmp_path / "bench.json").read_text())["format"] == 3
    assert BenchFile.load(tmp_path) == bench


def test_the_protocol_of_format_2_promises_what_all_rows_have(tmp_path: Path) -> None:
    rows = []
    for runs in (300, 200):
        timing = {**FIGURES_2, "runs": runs, "stable": True}
        rows.append({"name": str(runs), "threads": 1, "timing": timing})
    (tmp_path / "bench.json").write_text(json.dumps({**BENCH_2, "rows": rows}))
    assert BenchFile.load(tmp_path).protocol.least_runs == 200


@pytest.mark.parametrize(
    ("created", "earlier"), [("2026-01-01T01:00:00+02:00", False), ("2025-12-31T23:30:00-01:00", True)]
)
def test_times_of_different_zones_are_compared_as_moments(created: str, earlier: bool, tmp_path: Path) -> None:
    made = make_manifest(tmp_path, [], created=created)
    assert is_of_earlier_files(LatencyRow(name="x", threads=1), made, "2026-01-01T00:00:00+00:00") is earlier
