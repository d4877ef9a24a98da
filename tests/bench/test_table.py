"""What the terminal says next to the rows."""

from mlkdc.bench.devices import short_names
from mlkdc.bench.table import bench_tables, remarks
from mlkdc.records.bench import (
    Accuracy,
    BenchFile,
    DeviceInfo,
    LatencyRow,
    Lost,
    PhotoTiming,
    Protocol,
    RowTiming,
    Speedup,
    Turn,
)
from mlkdc.records.machine import Machine


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


def sustained(**values: object) -> list[str]:
    turn = Turn(median_ms=8, p90_ms=9, min_ms=7, runs=200, warmup_runs=10, settled=True, drift=1.25, **values)
    return remarks(figures(rows=(LatencyRow(name="onnx-fp32", device="local", threads=1, sustained=turn),)))


def test_a_sustained_load_is_said() -> None:
    where = "onnx-fp32 on local, threads 1"
    thirds = f"{where}: 8.00 ms under a sustained load, its last third +25 % against its first"
    assert sustained() == sustained(minute_ms=(8.0,)) == [thirds]
    assert sustained(minute_ms=(8.0, 9.0, 10.0)) == [
        f"{where}: without a pause 8.00 ms in the first minute, 10.00 in the last (+25 %)"
    ]


def test_photos_are_said() -> None:
    times = PhotoTiming(photos=32, megapixels=12.2, prepare_ms=98.0, run_ms=4.0, total_ms=102.5, p90_ms=140)
    rows = (
        LatencyRow(name="onnx-fp32", threads=1, photos=times),
        LatencyRow(name="onnx-int8", threads=1, photos_missing="no Pillow"),
    )
    assert remarks(figures(rows=rows)) == [
        "onnx-fp32 on local, threads 1: a photo of 12.20 megapixels takes 102.50 ms from its file, 98.00 of them to "
        "decode and resize it (median of 32)",
        "onnx-int8 on local, threads 1: no photos timed: no Pillow",
    ]


def device(url: str) -> DeviceInfo:
    return DeviceInfo(url=url, machine=Machine(cpu="made up", cores=4, system="tests"))


def test_devices_that_differ_in_their_options_only_keep_them() -> None:
    old, new, pi = "ssh://nano?python=/old", "ssh://nano?python=/new", "ssh://pi?python=/new"
    gone = Lost(device=new, after=0, why="ssh://nano was lost: Broken pipe")
    names = short_names(figures(devices={old: device(old), pi: device(pi)}, lost=(gone,)))
    assert names == {old: old, new: new, pi: "ssh://pi"}
    assert remarks(figures(devices={old: device(old)}, lost=(gone,))) == [f"{new} was not measured: Broken pipe"]


def test_a_device_lost_between_answers_and_turns_is_one_that_was_lost() -> None:
    partial = Accuracy(images=8, max_probability_difference=0, label_flips=0, map_images=64, map_percent=50)
    why = "its answers ended after 64 of 500 images of the test split"
    row = LatencyRow(name="onnx-fp32", device="pi", threads=1, accuracy=partial, accuracy_missing=why, skipped="lost")
    lost = Lost(device="pi", after=0, why="pi was lost: Broken pipe")
    assert remarks(figures(rows=(row,), devices={"pi": device("pi")}, lost=(lost,))) == [
        f"onnx-fp32 on pi: {why}",
        "pi was lost before its first turn: Broken pipe",
    ]


def full_row(name: str, where: str) -> LatencyRow:
    timing = RowTiming(
        median_ms=1234.5,
        p90_ms=1357.9,
        min_ms=1200,
        load_ms=2345.6,
        first_ms=3456.7,
        peak_mib=4567,
        runs=1000,
        passes=5,
        verdict="disturbed",
        why="noise",
    )
    accuracy = Accuracy(images=32, max_probability_difference=0.1, label_flips=17, map_images=500, map_percent=61.23)
    speedup = Speedup(to="torch eager", value=12.34, low=10.01, high=15.67)
    return LatencyRow(
        name=name, device=where, threads=16, precision="int8", timing=timing, accuracy=accuracy, speedup=speedup
    )


def test_a_row_without_a_reason_was_not_measured_yet() -> None:
    rows = (LatencyRow(name="a", threads=1), LatencyRow(name="b", threads=1, skipped="no runtime"))
    decisive = bench_tables(figures(rows=rows, devices={"local": device("local")}))["local"][0].text()
    assert [line.partition("not")[1:] for line in decisive.splitlines() if line.startswith("a")] == [
        ("not", " measured yet")
    ]
    assert "skipped: no runtime" in decisive
    assert "None" not in decisive


def test_all_figures_fit_a_terminal_of_80_columns() -> None:
    pi = "ssh://someone@a-long-name.example.org:2222"
    rows = [full_row(name, where) for where in ("local", pi) for name in ("torch eager", "executorch-int8")]
    skipped = LatencyRow(name="ncnn-fp16", device=pi, threads=16, precision="fp16", skipped="the runtime is missing")
    found = bench_tables(figures(rows=(*rows, skipped), devices={"local": device("local"), pi: device(pi)}))
    assert list(found) == ["local", pi]
    texts = [table.text() for tables in found.values() for table in tables]
    assert max(len(line) for text in texts for line in text.splitlines()) <= 80
    for text in ("\n".join(texts[:2]), "\n".join(texts[2:])):
        words = text.split()
        for figure in ("1,234.50", "1,357.90", "3,456.70", "2,345.60", "4,567", "17", "int8", "61.23", "12.34x", "16"):
            assert figure in words
        assert "disturbed" in words
    assert "skipped: the" in texts[2]
