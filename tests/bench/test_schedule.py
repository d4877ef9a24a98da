"""The order of turns, what is kept of them, and devices that fail or are lost."""

import json
import os
from itertools import groupby

import numpy as np
import pytest
from fake_device import FakeDevice, folder_named, turn

from mlkdc.bench import BASELINE, Plan, Questions, ScoredImages, artifact_rows, bench
from mlkdc.bench.rows import Row
from mlkdc.devices import DeviceLost
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.answers import KnownAnswers
from mlkdc.records.bench import BenchFile, PhotoTiming
from mlkdc.records.parity import Parity

NAMES = ("onnx-fp32", "onnx-int8", "onnx-fp16")


@pytest.fixture
def rows(make_artifact):
    return artifact_rows([folder_named(make_artifact, name) for name in NAMES])


def medians(**values: list) -> dict:
    """Turns with these medians, by name of the artifact; an exception stays one."""
    made = {}
    for name, listed in values.items():
        made[name.replace("_", "-")] = [turn(item) if isinstance(item, float) else item for item in listed]
    return made


def test_every_row_has_one_turn_in_each_pass_in_an_order_that_changes_and_is_kept(rows):
    device = FakeDevice("pi", {name: [turn() for _ in range(12)] for name in NAMES})
    plan = Plan(passes=6, threads=(1, 2), runs=250, seconds=0.5)
    figures = bench(rows, plan, devices=[device])
    turns = [(name, load.threads) for name, load in device.asked]
    passes = [turns[start : start + 6] for start in range(0, 36, 6)]
    complete = sorted((name, threads) for name in NAMES for threads in (1, 2))
    assert all(sorted(one) == complete for one in passes)
    assert len({tuple(one) for one in passes}) > 1, "the order changes"
    words = {1: "1 thread", 2: "2 threads"}
    assert figures.protocol.order["pi"] == tuple(f"{name}, {words[threads]}" for name, threads in turns)
    assert {(load.least_runs, load.least_seconds) for _, load in device.asked} == {(250, 0.5)}
    again = FakeDevice("pi", {name: [turn() for _ in range(12)] for name in NAMES})
    assert bench(rows, plan, devices=[again]).protocol.order == figures.protocol.order


def test_figures_are_medians_over_turns_and_speedups_are_paired_by_pass(rows):
    device = FakeDevice("pi", medians(onnx_fp32=[8.0, 16.0, 8.4], onnx_int8=[4.0, 4.0, 4.0], onnx_fp16=[1.0, 1.0, 1.0]))
    figures = bench(rows, Plan(passes=3, baseline="onnx-fp32"), devices=[device])
    slow, fast, _ = figures.rows
    assert slow.timing.median_ms == 8.4
    assert slow.timing.p90_ms == pytest.approx(8.4 * 1.2)
    assert slow.timing.min_ms == pytest.approx(8.0 * 0.9)
    assert (slow.timing.runs, slow.timing.passes, slow.timing.first_ms, slow.timing.peak_mib) == (600, 3, 5.0, 50.0)
    assert slow.timing.verdict == "spread"
    assert fast.timing.stable
    # Median of 8/4, 16/4, 8.4/4, not the ratio of the medians' own passes.
    assert fast.speedup.value == pytest.approx(2.1)
    assert fast.speedup.to == "onnx-fp32"
    assert slow.speedup.value == 1
    assert [len(row.turns) for row in figures.rows] == [3, 3, 3]


def test_figures_are_written_after_every_turn(rows, tmp_path):
    seen = []
    device = FakeDevice("pi", {name: [turn(), turn()] for name in NAMES})
    bench(rows, Plan(passes=2), devices=[device], write=seen.append)
    counts = [sum(len(row.turns) for row in figures.rows) for figures in seen]
    # And after the answers of each artifact.
    assert counts == [0, 0, 0, 1, 2, 3, 4, 5, 6]
    seen[5].save(tmp_path)
    assert BenchFile.load(tmp_path) == seen[5]


def test_a_row_that_fails_is_skipped_and_the_others_go_on(rows):
    turns = medians(onnx_fp32=[1.0, MlkdcError("killed")], onnx_int8=[1.0, 1.0, 1.0], onnx_fp16=[1.0, 1.0, 1.0])
    device = FakeDevice("pi", turns)
    failed, fine, _ = bench(rows, Plan(passes=3, baseline="onnx-fp32"), devices=[device]).rows
    assert failed.skipped == "killed"
    assert failed.timing is None
    assert failed.speedup is None
    assert fine.timing.passes == 3
    assert fine.speedup is None, "a skipped baseline is none"
    assert device.closed == 1


def test_a_device_that_another_measures_is_waited_for(rows, monkeypatch):
    monkeypatch.setattr("mlkdc.bench.schedule.WAIT_SECONDS", 0.0)
    device = FakeDevice("pi", {name: [turn()] for name in NAMES})
    claims = iter([False, False, True])
    said = []

    def claim() -> bool:
        assert not device.asked
        return next(claims)

    device.claim = claim
    figures = bench(rows, Plan(passes=1), devices=[device], say=said.append)
    assert [text for text in said if "another" in text] == [
        "pi is being measured by another mlkdc; waiting for its end (Ctrl-C gives up)"
    ]
    assert all(row.timing for row in figures.rows)
    assert list(claims) == []


def test_a_lost_device_keeps_what_was_measured_and_the_next_one_is_measured(rows):
    gone = medians(
        onnx_fp32=[1.0, DeviceLost("pi was lost: Broken pipe")],
        onnx_int8=[1.0, DeviceLost("pi was lost: Broken pipe")],
        onnx_fp16=[1.0, DeviceLost("pi was lost: Broken pipe")],
    )
    first, second = FakeDevice("pi", gone), FakeDevice("nano", {name: [turn(2.0), turn(2.0)] for name in NAMES})
    figures = bench(rows, Plan(passes=2), devices=[first, second])
    assert [(lost.device, lost.after, lost.why) for lost in figures.lost] == [("pi", 3, "pi was lost: Broken pipe")]
    by_device = {device: list(found) for device, found in groupby(figures.rows, lambda row: row.device)}
    assert [row.timing.passes for row in by_device["pi"]] == [1, 1, 1]
    assert [row.timing.passes for row in by_device["nano"]] == [2, 2, 2]
    assert (first.closed, second.closed) == (1, 1)
    silent = FakeDevice("pi", {name: [DeviceLost("pi was lost")] for name in NAMES})
    rows_of_it = bench(rows, Plan(passes=2), devices=[silent]).rows
    assert {row.skipped for row in rows_of_it} == {"the device was lost before its first turn"}


def test_what_nobody_foresaw_loses_the_device_keeps_the_traceback_and_goes_on(rows, tmp_path):
    turns = medians(onnx_fp32=[1.0] * 2, onnx_int8=[1.0, ZeroDivisionError("division\nby zero")], onnx_fp16=[1.0] * 2)
    broken, other = FakeDevice("pi", turns), FakeDevice("nano", {name: [turn()] * 2 for name in NAMES})
    said = []
    figures = bench(rows, Plan(passes=2), devices=[broken, other], say=said.append)
    (lost,) = figures.lost
    (log,) = (tmp_path / "cache" / "errors").iterdir()
    assert lost.after >= 3
    assert lost.why == (
        f"pi was lost: its measurement failed unexpectedly (ZeroDivisionError: division); where, is in {log}"
    )
    assert lost.why in said
    assert "fake_device.py" in log.read_text()
    assert [row.timing.passes for row in figures.rows if row.device == "nano"] == [2, 2, 2]
    assert (broken.closed, other.closed) == (1, 1)


@pytest.mark.parametrize("error", [MlkdcError("could not write bench.json"), BrokenPipeError()])
def test_what_fails_on_this_machine_ends_the_measurement(rows, error):
    def write(figures):
        raise error

    with pytest.raises(type(error)):
        bench(rows, Plan(passes=1), devices=[FakeDevice("pi", {name: [turn()] for name in NAMES})], write=write)


def test_a_device_that_is_not_set_up(rows):
    refusing = FakeDevice("pi", {}, refuses=UsageError("pi has no python3"))
    written = []
    with pytest.raises(UsageError, match="pi has no python3"):
        bench(rows, Plan(passes=1), devices=[refusing], write=written.append)
    assert written == [], "figures of an earlier measurement stay"
    other = FakeDevice("nano", {name: [turn()] for name in NAMES})
    figures = bench(rows, Plan(passes=1), devices=[refusing, other])
    assert [lost.why for lost in figures.lost] == ["pi has no python3"]
    assert len(figures.rows) == 3


def test_a_sustained_load_is_one_more_turn(rows):
    turns = {name: [turn(), turn(1.5, minute_ms=(1.0, 1.5))] for name in NAMES}
    device = FakeDevice("pi", turns)
    figures = bench(rows, Plan(passes=1, sustained_minutes=2), devices=[device])
    assert [load.least_seconds for _, load in device.asked] == [3.0] * 3 + [120.0] * 3
    assert figures.rows[0].sustained.minute_ms == (1.0, 1.5)
    assert figures.rows[0].timing.median_ms == 1.0, "the minutes are no pass"


def test_a_sustained_load_that_fails_takes_nothing_from_the_passes(rows):
    device = FakeDevice("pi", {name: [turn(), MlkdcError("too hot")] for name in NAMES})
    first, *_ = bench(rows, Plan(passes=1, sustained_minutes=2), devices=[device]).rows
    assert (first.timing.median_ms, first.skipped, first.sustained_missing) == (1.0, None, "too hot")


def test_photos_are_timed_last_and_a_device_that_takes_none_keeps_its_passes(rows, tmp_path):
    class Reading(FakeDevice):
        def photos(self, subject, files, threads):
            assert len(self.asked) == 3, "after the passes"
            if subject.folder.name == NAMES[1]:
                raise MlkdcError("no decoder")
            return PhotoTiming(photos=len(files), megapixels=1, prepare_ms=8, run_ms=1, total_ms=9, p90_ms=10)

    turns = {name: [turn()] for name in NAMES}
    questions = {name: Questions(photos=[tmp_path / "a.jpg"] * 3) for name in NAMES[:2]}
    first, second, third = bench(rows, Plan(passes=1), devices=[Reading("pi", turns)], questions=questions).rows
    assert (first.photos.photos, first.photos.total_ms) == (3, 9)
    assert (second.photos, second.photos_missing, second.timing.median_ms) == (None, "no decoder", 1.0)
    assert (third.photos, third.photos_missing) == (None, None)
    pixels_only = FakeDevice("phone", {name: [turn()] for name in NAMES})
    first, *_ = bench(rows, Plan(passes=1), devices=[pixels_only], questions=questions).rows
    assert "phone is not given photos' files" in first.photos_missing


@pytest.mark.parametrize(("start", "asked", "expected"), [(None, None, None), (41.0, None, 44.0), (41.0, 50.0, 50.0)])
def test_a_warm_device_waits(rows, start, asked, expected):
    device = FakeDevice("pi", {name: [turn()] for name in NAMES})
    device.start_celsius = start
    bench(rows, Plan(passes=1, cool_to=asked), devices=[device])
    assert {load.cool_to for _, load in device.asked} == {expected}


def test_the_torch_model_is_timed_on_this_machine_only(rows, tmp_path):
    device = FakeDevice("pi", {name: [turn()] for name in NAMES})
    figures = bench([Row(BASELINE, run=tmp_path), *rows], Plan(passes=1), devices=[device])
    assert [row.name for row in figures.rows] == list(NAMES)


def test_answers_come_first_and_a_row_that_gives_none_is_not_timed(rows):
    known = KnownAnswers(np.zeros((2, 3, 8, 8), np.uint8), np.full((2, 3), 0.4, np.float32), np.zeros((2, 3), np.uint8))
    questions = {name: Questions(known=known) for name in NAMES[:2]}
    questions[NAMES[2]] = Questions(missing="parity.npz is missing")
    device = FakeDevice("pi", {name: [turn()] for name in NAMES})
    device.answer = lambda pixels: np.full((len(pixels), 3), 0.6, np.float32)
    first, _, third = bench(rows, Plan(passes=1), devices=[device], questions=questions).rows
    assert first.accuracy.images == 2
    assert first.accuracy.label_flips == 6
    assert first.accuracy.max_probability_difference == pytest.approx(0.2)
    assert (third.accuracy, third.accuracy_missing) == (None, "parity.npz is missing")
    device = FakeDevice("pi", {name: [turn()] for name in NAMES})
    silent = bench(rows, Plan(passes=1), devices=[device], questions=questions)
    assert [row.skipped for row in silent.rows] == [f"{name} cannot run here" for name in NAMES[:2]] + [None]
    assert [name for name, _ in device.asked] == ["onnx-fp16"]


@pytest.mark.parametrize("asked", [1, 3])
def test_answers_are_kept_where_the_device_is_lost_among_them(rows, photos, asked):
    """``asked`` requests are answered: the known images, then chunks of 64 of the split."""
    known = KnownAnswers(np.zeros((2, 3, 8, 8), np.uint8), np.full((2, 3), 0.4, np.float32), np.zeros((2, 3), np.uint8))
    paths = sorted((photos / "images").iterdir())[:30] * 5
    targets = np.random.default_rng(0).integers(0, 2, (150, 3)).astype(np.uint8)
    scored = ScoredImages("test", paths, targets)
    device = FakeDevice("pi", {name: [turn()] for name in NAMES})
    requests = []

    def answer(pixels):
        requests.append(len(pixels))
        if len(requests) > asked:
            raise DeviceLost("pi was lost: Broken pipe")
        return np.linspace(0, 1, 3 * len(pixels), dtype=np.float32).reshape(-1, 3)

    device.answer = answer
    seen = []
    figures = bench(
        rows, Plan(passes=1), devices=[device], questions={NAMES[0]: Questions(known, scored)}, write=seen.append
    )
    assert seen[-1] == figures
    first = figures.rows[0]
    assert first.accuracy.images == 2
    assert first.skipped == "the device was lost before its first turn"
    count = 64 * (asked - 1)
    assert first.accuracy.map_images == count
    if count:
        from sklearn.metrics import average_precision_score

        answers = np.concatenate([np.linspace(0, 1, 192).reshape(-1, 3)] * (asked - 1))
        expected = average_precision_score(targets[:count], answers, average="macro")
        assert first.accuracy.map_percent == pytest.approx(100 * expected, abs=0.01)
        assert first.accuracy_missing == "its answers ended after 128 of 150 images of the test split"
    else:
        assert first.accuracy.map_percent is None


def test_images_without_a_label_have_no_map(rows, photos):
    paths = sorted((photos / "images").iterdir())[:3]
    scored = ScoredImages("test", paths, np.zeros((3, 3), np.uint8))
    device = FakeDevice("pi", {name: [turn()] for name in NAMES})
    device.answer = lambda pixels: np.full((len(pixels), 3), 0.6, np.float32)
    figures = bench(rows, Plan(passes=1), devices=[device], questions={NAMES[0]: Questions(scored=scored)})
    assert (figures.rows[0].accuracy.map_images, figures.rows[0].accuracy.map_percent) == (3, None)


def test_what_runs_an_artifact_is_named_by_the_device(rows):
    class Page(FakeDevice):
        def provider(self, subject):
            if subject.folder.name == "onnx-int8":
                raise MlkdcError("a page runs no int8")
            return "onnxruntime-web wasm"

    device = Page("browser", {name: [turn()] for name in NAMES})
    figures = bench(rows, Plan(passes=1), devices=[device])
    assert [row.provider for row in figures.rows] == ["onnxruntime-web wasm", "onnxruntime", "onnxruntime-web wasm"]
    assert [row.skipped for row in figures.rows] == [None, "a page runs no int8", None]


@pytest.mark.parametrize("wrong", [{"runs": 199}, {"passes": 0}, {"threads": ()}, {"threads": (0,)}])
def test_senseless_requests_are_refused(rows, wrong):
    with pytest.raises(UsageError, match="at least 200 runs"):
        bench(rows, Plan(**wrong))
    with pytest.raises(UsageError, match="0 rows"):
        bench([], Plan())


def test_a_number_of_threads_that_comes_twice_counts_once(rows):
    device = FakeDevice("pi", {name: [turn(), turn()] for name in NAMES})
    figures = bench(rows, Plan(passes=1, threads=(2, 1, 2, 1), baseline="onnx-fp32"), devices=[device])
    assert [(row.name, row.threads) for row in figures.rows] == [(name, count) for name in NAMES for count in (2, 1)]


def test_rows_of_one_name_are_refused(rows):
    with pytest.raises(UsageError, match="a name of its own for each row, got 'onnx-fp32' twice"):
        bench([*rows, rows[0]], Plan())


def test_an_unknown_baseline_is_answered_with_the_nearest_name(rows):
    with pytest.raises(UsageError, match=r"'onnx-fp23' is not among what is timed; did you mean onnx-fp32"):
        bench(rows, Plan(baseline="onnx-fp23"))


def test_real_artifacts_are_timed_on_this_machine_and_failed_ones_skipped(make_artifact, tmp_path):
    bad = folder_named(make_artifact, "onnx-int8", status="failed", parity=Parity(passed=False, reason="mAP differs"))
    good = make_artifact()
    rows = artifact_rows([good, bad])
    assert rows[0].size_bytes == (good / "model.onnx").stat().st_size
    result = bench(rows, Plan(passes=1, seconds=0.2, image_size=8, command="mlkdc bench photos"))
    fine, failed = result.rows
    assert 0 < fine.timing.min_ms <= fine.timing.median_ms <= fine.timing.p90_ms
    assert "failed export (mAP differs)" in failed.skipped
    assert result.devices["local"].machine.cores <= (os.cpu_count() or 1)
    saved = json.loads(result.save(tmp_path).read_text())
    assert (saved["format"], saved["image_size"], saved["command"]) == (3, 8, "mlkdc bench photos")
    assert saved["rows"][0]["timing"]["median_ms"] == fine.timing.median_ms
    assert "numpy" in saved["devices"]["local"]["versions"]
    assert BenchFile.load(tmp_path) == result


def test_a_changed_file_is_skipped_before_it_travels(make_artifact):
    folder = make_artifact()
    (folder / "model.onnx").write_bytes(b"other")
    (row,) = artifact_rows([folder])
    assert "truncated or replaced" in row.skipped


def test_the_checksum_of_an_artifact_is_that_of_sha256sum(make_artifact):
    import hashlib

    folder = make_artifact()
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    listing = f"{digest}  model.onnx\n"
    assert artifact_rows([folder])[0].sha256 == hashlib.sha256(listing.encode()).hexdigest()
