"""What the terminal says next to the rows."""

from mlkdc.bench.table import remarks
from mlkdc.records.bench import BenchFile, LatencyRow, Lost, Protocol, Turn


def figures(**values: object) -> BenchFile:
    protocol = Protocol(passes=1, least_runs=200, least_seconds=3)
    whole = {"rows": (), "devices": {}, **values}
    return BenchFile(command="", when="2026-01-02T03:04:05+00:00", image_size=None, protocol=protocol, **whole)


def test_a_device_that_was_never_reached_was_not_lost() -> None:
    nowhere = Lost(device="ssh://pi", after=0, why="ssh://pi: nothing listens there")
    gone = Lost(device="ssh://pi", after=3, why="ssh://pi was lost: Broken pipe")
    assert remarks(figures(lost=(nowhere, gone))) == [
        "ssh://pi was not measured: nothing listens there",
        "ssh://pi was lost after 3 turns: Broken pipe",
    ]


def test_a_sustained_load_is_said() -> None:
    turn = Turn(median_ms=8, p90_ms=9, min_ms=7, runs=200, warmup_runs=10, settled=True, drift=1.25)
    row = LatencyRow(name="onnx-fp32", device="local", threads=1, sustained=turn)
    assert remarks(figures(rows=(row,))) == [
        "onnx-fp32 on local, threads 1: 8.00 ms under a sustained load, its last third +25 % against its first"
    ]
