"""What a row's turns come to: medians over them, the largest memory, speedups on the same device."""

import pytest
from fake_device import FakeDevice, folder_named, turn

from mlkdc.bench import Plan, artifact_rows, bench

#: Milliseconds of the baseline and of the other row, by device and threads.
TIMES = {("pi", 1): (8.0, 2.0), ("pi", 2): (6.0, 1.0), ("nano", 1): (30.0, 10.0), ("nano", 2): (20.0, 4.0)}


def test_a_speedup_is_over_the_same_device_with_as_many_threads(make_artifact):
    class ByThreads(FakeDevice):
        def turn(self, subject, load):
            return turn(TIMES[self.name, load.threads][subject.folder.name == "onnx-int8"])

    rows = artifact_rows([folder_named(make_artifact, name) for name in ("onnx-fp32", "onnx-int8")])
    plan = Plan(passes=1, threads=(1, 2), baseline="onnx-fp32")
    figures = bench(rows, plan, devices=[ByThreads("pi", {}), ByThreads("nano", {})])
    found = {(row.device, row.threads): row.speedup.value for row in figures.rows if row.name == "onnx-int8"}
    assert found == pytest.approx({place: slow / fast for place, (slow, fast) in TIMES.items()})


def test_each_figure_is_its_own_over_the_turns(make_artifact):
    turns = [
        turn(load_ms=30.0, first_ms=9.0, peak_mib=50.0),
        turn(load_ms=31.0, first_ms=5.0, peak_mib=70.0),
        turn(load_ms=90.0, first_ms=6.0, peak_mib=60.0),
    ]
    device = FakeDevice("pi", {"onnx-fp32": turns})
    (row,) = bench(artifact_rows([make_artifact()]), Plan(passes=3), devices=[device]).rows
    assert (row.timing.load_ms, row.timing.first_ms, row.timing.peak_mib) == (31.0, 6.0, 70.0)
