"""The charts, conditions and notes of several devices, read back as XML and compared with the bench.json."""

import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from page_reader import Page
from report_devices import PERCENTS, PI, devices_bench
from report_folder import write_full
from report_training import results

from mlkdc.bench.imported import with_import
from mlkdc.records.bench import Accuracy, BenchFile, LatencyRow
from mlkdc.report import collect, write_report
from mlkdc.report.latency_table import latency_conditions

BENCH = devices_bench()
#: Of the parity checks of write_full, for what was not scored on the device.
CHECKED = {"torch eager": 78.12, "onnx-fp32": 78.12, "onnx-fp16": 78.08, "onnx-int8": 75.02}


def written(folder: Path, bench: BenchFile) -> str:
    write_full(folder)
    bench.save(folder)
    return write_report(folder).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    return written(tmp_path_factory.mktemp("runs") / "devices", BENCH)


def drawings(source: str, description: str) -> list[ElementTree.Element]:
    """The SVGs whose description holds this; each is XML by itself."""
    found = [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", source, re.DOTALL)]
    return [drawing for drawing in found if description in drawing.get("aria-label", "")]


def timed(device: str, bench: BenchFile = BENCH) -> list[LatencyRow]:
    return [row for row in bench.rows if row.device == device and row.timing is not None]


def percent(row: LatencyRow) -> float:
    return row.accuracy.map_percent if row.accuracy else CHECKED[row.name]


def place(shape: ElementTree.Element) -> tuple[float, float, float]:
    """Center and area of a mark."""
    value = {key: float(text) for key, text in shape.attrib.items() if key not in ("class", "transform")}
    if shape.tag == "circle":
        return value["cx"], value["cy"], np.pi * value["r"] ** 2
    x, y = value["x"] + value["width"] / 2, value["y"] + value["height"] / 2
    return x, y, value["width"] * value["height"]


def marks(drawing: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """Shapes by what their tooltip begins with: name and number of threads."""
    shapes = [shape for group in drawing.iter("g") if group.get("class") == "mark" for shape in group]
    return {shape.find("title").text.partition(":")[0]: shape for shape in shapes}


def words(row: LatencyRow) -> str:
    return f"{row.name}, 1 thread" if row.threads == 1 else f"{row.name}, {row.threads} threads"


def line_through(values: list[float], pixels: list[float]) -> np.ndarray:
    """The affine map from values to pixels, after a check that it is one."""
    slope = np.polyfit(values, pixels, 1)
    assert np.abs(np.polyval(slope, values) - pixels).max() < 0.2
    return slope


@pytest.mark.parametrize(("number", "device", "scale"), [(0, "local", np.log), (1, PI, float)])
def test_each_device_has_a_plot_of_accuracy_against_latency(source, number, device, scale):
    drawing = drawings(source, "mAP, % against median latency")[number]
    shapes, rows = marks(drawing), timed(device)
    assert set(shapes) == {words(row) for row in rows}
    places = [place(shapes[words(row)]) for row in rows]
    across = line_through([scale(row.timing.median_ms) for row in rows], [x for x, _, _ in places])
    up = line_through([percent(row) for row in rows], [y for _, y, _ in places])
    assert across[0] > 0 > up[0]
    areas = np.array([area for _, _, area in places])
    sizes = np.array([row.size_bytes for row in rows])
    assert areas / areas.max() == pytest.approx(sizes / sizes.max(), rel=0.05)
    assert [shapes[words(row)].tag for row in rows] == ["circle" if row.threads == 1 else "rect" for row in rows]
    for row in rows:
        title = shapes[words(row)].find("title").text
        assert f"{row.timing.median_ms:.2f} ms" in title
        assert title.endswith(f"{percent(row):.2f}, {row.size_bytes / 1e6:.2f} MB, {row.timing.verdict}")
        assert title in drawing.get("aria-label")

    whiskers = [path.get("d") for path in drawing.iter("path") if path.get("class") == "whisker"]
    ends = [tuple(map(float, re.match(r"M([\d.]+) .*H([\d.]+)", path).groups())) for path in whiskers]
    for row, (left, right) in zip(rows, ends, strict=True):
        medians = [turn.median_ms for turn in row.turns]
        assert left == pytest.approx(np.polyval(across, scale(min(medians))), abs=0.3)
        assert right == pytest.approx(np.polyval(across, scale(max(medians))), abs=0.3)


def test_the_front_joins_what_no_other_is_faster_and_more_accurate_than(tmp_path):
    rows = []
    for row in timed(PI):
        if row.name == "onnx-fp16":  # faster than fp32 and less accurate: both are on the front; slower than int8
            row = row.model_copy(update={"timing": row.timing.model_copy(update={"median_ms": 20.0 * row.threads})})
        rows.append(row)
    [drawing] = drawings(written(tmp_path, BENCH.model_copy(update={"rows": tuple(rows)})), "mAP, % against")
    [line] = [line for line in drawing.iter("polyline") if line.get("class") == "front"]
    corners = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
    best = [words(row) for row in rows if (row.name, row.threads) in (("onnx-fp16", 1), ("onnx-fp32", 2))]
    expected = sorted(place(marks(drawing)[name])[:2] for name in best)
    assert np.array(corners) == pytest.approx(np.array(expected), abs=0.2)  # int8 failed, and is not on it


@pytest.mark.parametrize(("number", "device"), [(0, "local"), (1, PI)])
def test_every_call_is_in_the_lane_of_its_process(source, number, device):
    drawing = drawings(source, "of single calls")[number]
    rows = timed(device)
    turns = [turn for row in rows for turn in row.turns]
    lanes = [group for group in drawing.iter("g") if group.get("class") == "lane"]
    assert len(lanes) == len(turns) == 5 * len(rows)
    paths = [{path.get("class").split()[0]: path.get("d") for path in lane.iter("path")} for lane in lanes]
    medians = [float(re.match(r"M([\d.]+)", path["median"]).group(1)) for path in paths]
    across = line_through([np.log(turn.median_ms) for turn in turns], medians)
    for turn, path in zip(turns, paths, strict=True):
        bars = re.findall(r"M([\d.]+) [\d.]+v-([\d.]+)", path["calls"])
        at = np.polyval(across, np.log(np.array(turn.samples_us) / 1000))
        centers = np.array([float(x) for x, _ in bars])
        assert np.abs(at[:, None] - centers[None]).min(axis=1).max() < 1.3, "a call without a bar"
        assert np.abs(at[:, None] - centers[None]).min(axis=0).max() < 1.3, "a bar without a call"
        tallest = max(bars, key=lambda bar: float(bar[1]))
        counts = [np.sum(np.abs(at - center) <= 1) for center in centers]
        assert np.sum(np.abs(at - float(tallest[0])) <= 1) >= max(counts) * 0.8
    titles = [text.text for text in drawing.iter("text") if text.get("class") == "name"]
    assert titles == [f"{words(row)}: {row.timing.median_ms:.2f} ms, {row.timing.verdict}" for row in rows]


def test_every_drawing_is_described_and_has_no_script(source):
    page = Page(source)
    drawn = [item for item in page.attributes if item[0] == "svg"]
    assert drawn.count(("svg", "role", "img")) == page.tags.count("svg")
    assert len([item for item in drawn if item[1] == "aria-label" and item[2]]) == page.tags.count("svg")
    assert "script" not in page.tags


def test_minutes_of_a_sustained_load_are_lines(source):
    [drawing] = drawings(source, "median of the minute, ms by minute")
    lines = [line for line in drawing.iter("polyline") if line.get("class").startswith("line")]
    sustained = [row for row in timed(PI) if row.sustained is not None]
    assert len(lines) == len(sustained) == 3
    for line, row in zip(lines, sustained, strict=True):
        y = [float(pair.split(",")[1]) for pair in line.get("points").split()]
        assert line_through(list(row.sustained.minute_ms), y)[0] < 0


def test_photos_from_their_files(source):
    [table] = [rows for rows in Page(source).tables if "megapixels" in rows[0]]
    assert [cells[:3] for cells in table[1:]] == [["onnx-int8", PI, threads] for threads in "12"]
    assert table[1][3:] == ["16", "12.20", "98.00", "4.00", "102.50", "140.00"]


def test_conditions_from_the_lowest_to_the_highest(source):
    [table] = [rows for rows in Page(source).tables if "governor" in rows[0]]
    assert len(table) == 1 + len(BENCH.rows)
    column = {title: place for place, title in enumerate(table[0])}
    for cells, row in zip(table[1:], BENCH.rows, strict=True):
        assert cells[:3] == [row.name, row.device, str(row.threads)]
        conditions = [turn.conditions for turn in row.turns]
        waited = [100 * one.waited for one in conditions]
        low, high = f"{min(waited):.1f}", f"{max(waited):.1f}"
        assert cells[column["waited for a core, %"]] == (low if low == high else f"{low} to {high}")
        if row.device == "local":
            assert cells[column["temperature, °C"]] == cells[column["throttled"]] == "–"
            continue
        celsius = [value for one in conditions for value in one.celsius]
        assert cells[column["temperature, °C"]] == f"{min(celsius):.0f} to {max(celsius):.0f}"
        assert cells[column["throttled"]] == "none"
        assert cells[column["governor"]] == "ondemand"
        assert cells[column["clock, MHz"]] == "2,400"


def test_what_was_lost_and_what_cannot_be_relied_on_is_said_first(source):
    text = Page(source).text.split("Student and teacher")[0]
    assert f"{PI} was lost after 30 turns: the connection was closed." in text
    assert "other work disturbed (verdict disturbed): onnx-fp16 (2 threads, local). Why: its threads waited 12%" in text
    assert "close other programs and measure again." in text


def test_hostile_names_stay_text(tmp_path):
    name, device = "<b>a&b</b>'\"", "<i>ssh://x</i>"
    row = timed(PI)[0].model_copy(update={"name": name, "device": device})
    devices = {device: BENCH.devices[PI], "local": BENCH.devices["local"]}
    source = written(tmp_path, BENCH.model_copy(update={"rows": (row, *timed("local")), "devices": devices}))
    page = Page(source)
    assert not {"b", "script"} & set(page.tags)
    assert "<i>ssh" not in source
    [drawing] = [one for one in drawings(source, "of single calls") if name in one.get("aria-label")]
    assert name in "".join(drawing.itertext())
    assert "<b>" not in (tmp_path / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_rows_without_turns(tmp_path, count):
    rows = [row.model_copy(update={"turns": (), "sustained": None}) for row in timed("local")[:count]]
    source = written(tmp_path, BENCH.model_copy(update={"rows": tuple(rows), "lost": ()}))
    assert len(drawings(source, "mAP, % against")) == min(count, 1)
    assert not drawings(source, "of single calls")
    assert "governor" not in source
    assert "nan" not in source.replace("naïve", "").lower().split("the resolved recipe")[0]


def test_one_turn_whose_calls_took_equally_long(tmp_path):
    row = timed("local")[0]
    turn = row.turns[0].model_copy(update={"samples_us": (5000,) * 9, "median_ms": 5.0})
    row = row.model_copy(update={"turns": (turn,), "timing": row.timing.model_copy(update={"median_ms": 5.0})})
    source = written(tmp_path, BENCH.model_copy(update={"rows": (row,)}))
    [drawing] = drawings(source, "of single calls")
    [bars] = [path.get("d") for path in drawing.iter("path") if path.get("class").startswith("calls")]
    assert bars.count("M") == 1


def test_a_long_name_keeps_its_end(tmp_path):
    name = "run-" * 30 + "onnx-int8"
    row = timed(PI)[0].model_copy(update={"name": name})
    source = written(tmp_path, BENCH.model_copy(update={"rows": (row,)}))
    for drawing in drawings(source, name):
        [shown] = [text.text for text in drawing.iter("text") if text.get("class") == "name"]
        assert shown.startswith("…")
        assert "onnx-int8" in shown


def test_a_row_of_another_tool_is_marked_and_has_no_accuracy(tmp_path):
    profile = {"execution_summary": {"estimated_inference_time": 900, "all_inference_times": [900, 1000, 1500]}}
    (tmp_path / "onnx-fp32.json").write_text(json.dumps(profile), encoding="utf-8")
    bench = with_import(BENCH, "qai-hub", tmp_path / "onnx-fp32.json", device="Galaxy <S24>")
    device = "qai-hub: Galaxy <S24>"
    source = written(tmp_path, bench)
    page = Page(source)
    [cells] = [row for table in page.tables for row in table if row[:2] == ["onnx-fp32", device] and len(row) == 13]
    assert cells[2:5] == ["–", "1.00", "1.40"]
    assert cells[9:] == ["–", "–", "–", "unknown, imported from qai-hub"]
    assert len(drawings(source, "mAP, % against")) == 2  # of the two others
    *_, drawing = drawings(source, "of single calls")
    assert "onnx-fp32, from qai-hub: 1.00 ms, unknown" in "".join(drawing.itertext())
    assert f"{device}: measured by another tool and imported; " in page.text
    assert "verdict unknown" not in page.text
    assert "<S24>" not in source
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["best"]["device"] == "local"
    # Single calls are most of the file: they are in it once.
    for entry in (report["best"], *report["latency"]):
        assert not {"turns", "sustained"} & set(entry)
    assert any(row["turns"][0]["samples_us"] for row in report["bench"]["rows"])


def test_a_measurement_that_was_stopped_is_said(tmp_path):
    """As bench.json is left by Ctrl-C in the third pass."""
    rows = []
    for number, row in enumerate(timed("local")):
        done = (3, 2, 0)[min(number, 2)]
        timing = row.timing.model_copy(update={"passes": done}) if done else None
        speedup = row.speedup if done else None
        rows.append(row.model_copy(update={"turns": row.turns[:done], "timing": timing, "speedup": speedup}))
    stopped = BENCH.model_copy(update={"rows": tuple(rows), "lost": ()})
    page = Page(written(tmp_path, stopped))
    [table] = [table for table in page.tables if "median, ms" in table[0]]
    assert [row[-1] for row in table[1:]] == ["stable", "stable", *["not measured yet"] * (len(rows) - 2)]
    assert "Medians of 2 to 3 passes; in each, a row had one turn, " in page.text
    assert "every row" not in page.text
    assert "The measurement was stopped: these rows had fewer turns than the 5 asked for: torch eager (1 " in page.text
    assert "(2 threads, local; 2), onnx-fp32 (1 thread, local; 0)" in page.text
    assert "was stopped" not in Page(written(tmp_path / "whole", BENCH)).text
    assert "Medians of 5 passes; " in latency_conditions(BENCH)
    nothing = tuple(row.model_copy(update={"timing": None, "turns": ()}) for row in rows)
    assert latency_conditions(stopped.model_copy(update={"rows": nothing})) == (
        "Batch of 1 at 224 px. Nothing was timed."
    )


def test_an_interval_is_explained_where_there_is_one():
    assert "with the 95 % bootstrap interval over the passes." in latency_conditions(BENCH)
    rows = []
    for row in BENCH.rows:
        speedup = row.speedup and row.speedup.model_copy(update={"low": None, "high": None})
        rows.append(row.model_copy(update={"speedup": speedup}))
    few = BENCH.model_copy(update={"rows": tuple(rows)})
    assert "paired by pass, without an interval, which takes at least 5 passes." in latency_conditions(few)


def answered(name: str, within_tolerance: bool = True, images: int = 0, split: str | None = None) -> Accuracy:
    """Of the device's answers; scored there where there are images."""
    return Accuracy(
        images=32,
        max_probability_difference=0.0 if within_tolerance else 0.9,
        within_tolerance=within_tolerance,
        label_flips=0,
        map_images=images,
        map_percent=PERCENTS[name] if images else None,
        split=split,
    )


@pytest.mark.parametrize(
    ("images", "split", "known"), [(997, "test", True), (500, "test", False), (997, "val", False), (0, None, False)]
)
def test_the_torch_model_is_compared_on_the_images_that_the_artifacts_were_scored_on(tmp_path, images, split, known):
    """Its mAP of the parity check is of other images than those of a device that was scored."""
    rows = []
    for row in timed("local"):
        if row.precision is not None:
            row = row.model_copy(update={"accuracy": answered(row.name, images=images, split=split)})
        rows.append(row)
    written(tmp_path, BENCH.model_copy(update={"rows": tuple(rows)}))
    expected = (results().map_percent, images) if known else (None, None)
    if not images:
        expected = (CHECKED["torch eager"], 490)
    entries = [entry for entry in collect(tmp_path).latency if entry.name == "torch eager"]
    assert {(entry.map_percent, entry.map_images) for entry in entries} == {expected}


def test_the_torch_model_has_no_figure_where_artifacts_were_scored_on_different_images(tmp_path):
    rows = []
    for row in timed("local"):
        if row.precision is not None:
            images = 997 if row.name == "onnx-fp32" else 500
            row = row.model_copy(update={"accuracy": answered(row.name, images=images, split="test")})
        rows.append(row)
    written(tmp_path, BENCH.model_copy(update={"rows": tuple(rows)}))
    assert {entry.map_percent for entry in collect(tmp_path).latency if entry.name == "torch eager"} == {None}


def test_what_answers_otherwise_on_the_device_is_neither_the_headline_nor_on_the_front(tmp_path):
    assert answered_front(tmp_path / "same", True) == ("onnx-fp32", ["onnx-fp32, 1 thread"])
    assert answered_front(tmp_path / "other", False) == ("onnx-fp16", ["onnx-fp16, 1 thread"])


def test_what_is_gone_is_not_on_the_front(tmp_path):
    """Although its accuracy was measured on the device."""
    only_pi = BENCH.model_copy(update={"rows": tuple(timed(PI))})
    assert set(front(written(tmp_path, only_pi))) == {"onnx-fp32, 2 threads"}
    shutil.rmtree(tmp_path / "export" / "onnx-fp32")
    assert set(front(write_report(tmp_path).read_text(encoding="utf-8"))) == {"onnx-fp16, 2 threads"}


def front(source: str) -> list[str]:
    """What the front joins in the one plot of accuracy against latency."""
    [drawing] = drawings(source, "mAP, % against")
    [line] = [line for line in drawing.iter("polyline") if line.get("class") == "front"]
    corners = [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
    joined = []
    for name, shape in marks(drawing).items():
        if any(np.allclose(place(shape)[:2], corner, atol=0.2) for corner in corners):
            joined.append(name)
    return joined


def answered_front(folder: Path, within_tolerance: bool) -> tuple[str, list[str]]:
    """The headline's artifact, and what the front of this machine's plot joins; fp32 is the fastest and best."""
    rows = []
    for row in timed("local"):
        if row.name in ("onnx-fp32", "onnx-fp16") and row.threads == 1:
            accuracy = answered(row.name, within_tolerance or row.name != "onnx-fp32")
            rows.append(row.model_copy(update={"accuracy": accuracy}))
    source = written(folder, BENCH.model_copy(update={"rows": tuple(rows)}))
    return collect(folder).best.name, front(source)
