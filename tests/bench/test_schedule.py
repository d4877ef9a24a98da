"""The bench with fake workers that note who was called when, and with the real one."""

import json
import os

import pytest
from samples import make_manifest

from mlkdc.bench import BASELINE, Row, artifact_rows, bench, schedule
from mlkdc.devices import LocalDevice
from mlkdc.errors import UsageError
from mlkdc.records.bench import BenchFile, LatencyRow
from mlkdc.records.parity import Parity

WORKER = """
import json, os, sys
name, log, medians, stable = sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), sys.argv[4] == "stable"
options = dict(zip(sys.argv[5::2], sys.argv[6::2]))
seen = open(log).read().splitlines() if os.path.exists(log) else []
threads = options["--threads"]
turn = sum(line.split("|")[:2] == [name, threads] for line in seen)
open(log, "a").write("|".join([name, threads, options["--runs"], os.environ["OMP_NUM_THREADS"]]) + "\\n")
median = medians[turn] / int(threads)
print("a line of chatter")
print(json.dumps({"median_ms": median, "p90_ms": median * 2, "p99_ms": median * 3, "mean_ms": median,
                  "min_ms": median / 2, "runs": int(options["--runs"]), "warmup_runs": 20, "stable": stable}))
"""


@pytest.fixture
def fake(tmp_path):
    """fake(name, medians, stable) -> a row whose worker prints these medians, one per turn."""
    script, log = tmp_path / "worker.py", tmp_path / "log.txt"
    script.write_text(WORKER)

    def make(name: str, medians: list[float], stable: str = "stable") -> Row:
        return Row(name, (str(script), name, str(log), json.dumps(medians), stable), size_bytes=1234)

    make.log = log
    return make


def by_name(result: BenchFile) -> dict[tuple[str, int], LatencyRow]:
    return {(row.name, row.threads): row for row in result.rows}


def test_rows_take_turns_within_each_pass(fake):
    said = []
    rows = [fake("a", [1, 1]), fake("b", [1, 1])]
    bench(rows, runs=250, passes=2, threads=[1, 2], progress=said.append)
    order = [line.split("|") for line in fake.log.read_text().splitlines()]
    one_pass = [["a", "1"], ["b", "1"], ["a", "2"], ["b", "2"]]
    assert [line[:2] for line in order] == one_pass * 2
    assert {line[2] for line in order} == {"250"}
    assert all(line[3] == line[1] for line in order), "OMP_NUM_THREADS follows the thread count"
    assert said[0] == "pass 1/2, 1 thread: a"
    assert said[-1] == "pass 2/2, 2 threads: b"


def test_figures_are_medians_over_passes_and_speedups_are_at_equal_threads(fake):
    rows = [fake(BASELINE, [20, 20, 21]), fake("onnx-fp32", [5.0, 5.2, 4.9])]
    lines = by_name(bench(rows, runs=200, passes=3, threads=[1, 2]))
    line = lines["onnx-fp32", 1]
    timing = line.timing
    assert timing is not None
    assert (timing.median_ms, timing.p90_ms, timing.p99_ms) == (5.0, 10.0, 15.0)
    assert timing.min_ms == pytest.approx(4.9 / 2)
    assert (timing.runs, timing.passes, line.size_bytes, line.skipped) == (200, 3, 1234, None)
    assert timing.stable
    assert line.speedup == pytest.approx(20 / 5.0)
    assert lines["onnx-fp32", 2].speedup == pytest.approx(10 / 2.5)
    assert lines[BASELINE, 2].speedup == 1


def test_unstable_when_a_worker_says_so_or_the_passes_disagree(fake):
    rows = [fake("says", [1, 1], "unstable"), fake("apart", [1.0, 1.2]), fake("fine", [1.0, 1.05])]
    lines = by_name(bench(rows, runs=200, passes=2, threads=[1]))
    assert [lines[name, 1].timing.stable for name in ("says", "apart", "fine")] == [False, False, True]
    assert lines["fine", 1].speedup is None, "no baseline among the rows"


def failing(code: str) -> Row:
    return Row("broken", ("-c", code))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (failing("import sys; sys.exit('first\\nno such runtime')"), "no such runtime"),
        (failing("import sys; sys.exit(3)"), "the worker ended with exit code 3 and no message"),
        (failing("import os; os.kill(os.getpid(), 9)"), "the worker was killed by signal 9 (SIGKILL)"),
        (failing("print('hello')"), "the worker printed no result: 'hello'"),
        (failing("print(0)"), "the worker printed no result: '0'"),
        (failing("pass"), "the worker printed no result: ''"),
    ],
)
def test_a_row_that_cannot_run_says_why_and_has_no_figures(fake, row, reason):
    lines = by_name(bench([row, fake("fine", [1, 1])], runs=200, passes=2, threads=[1]))
    line = lines["broken", 1]
    assert line.skipped == reason
    assert line.timing is None
    assert line.speedup is None
    assert lines["fine", 1].timing.passes == 2, "the other rows continue"


def test_a_device_whose_python_cannot_be_started(fake):
    result = bench([fake("a", [1])], runs=200, passes=1, threads=[1], device=LocalDevice("/no/such/program"))
    assert result.rows[0].skipped == "could not start /no/such/program: No such file or directory"


def test_failure_in_a_later_pass_skips_the_row_and_a_skipped_baseline_gives_no_speedup(fake):
    rows = [fake(BASELINE, [1]), fake("fine", [1, 1])]
    lines = by_name(bench(rows, runs=200, passes=2, threads=[1]))
    assert "IndexError" in lines[BASELINE, 1].skipped
    assert lines[BASELINE, 1].timing is None
    assert lines["fine", 1].speedup is None


def test_a_worker_that_hangs_is_stopped(monkeypatch):
    monkeypatch.setattr(schedule, "TIMEOUT_SECONDS", 0.5)
    result = bench([failing("import time; time.sleep(60)")], runs=200, passes=3, threads=[1])
    assert result.rows[0].skipped == "took longer than 0.5 s"


@pytest.mark.parametrize("wrong", [{"runs": 199}, {"passes": 0}, {"threads": []}, {"threads": [0]}])
def test_senseless_requests_are_refused(fake, wrong):
    with pytest.raises(UsageError, match="at least 200 runs"):
        bench([fake("a", [1])], **{"runs": 200, "passes": 1, "threads": [1], **wrong})
    with pytest.raises(UsageError, match="0 rows"):
        bench([], runs=200, passes=1, threads=[1])


def write_artifact(folder, **values) -> None:
    """An artifact whose one model file gives sigmoid of the image's channel means; onnx made here."""
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper, save

    folder.mkdir(parents=True)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("Sigmoid", ["flat"], ["probabilities"]),
        ],
        "mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    save(model, str(folder / "model.onnx"))
    make_manifest(folder, ["model.onnx"], **values).save(folder)


@pytest.mark.converter
def test_real_artifacts_are_timed_and_failed_ones_skipped(tmp_path):
    good, bad = tmp_path / "photos/export/onnx-fp32", tmp_path / "photos/export/onnx-int8"
    write_artifact(good)
    write_artifact(bad, status="failed", parity=Parity(passed=False, reason="mAP differs by 9"))
    rows = artifact_rows([good, bad])
    assert [row.name for row in rows] == ["onnx-fp32", "onnx-int8"]
    assert rows[0].size_bytes == (good / "model.onnx").stat().st_size
    result = bench(rows, runs=200, passes=1, threads=[1], image_size=8, command="mlkdc bench photos")
    fine, failed = result.rows
    assert 0 < fine.timing.min_ms <= fine.timing.median_ms <= fine.timing.p99_ms
    assert "failed export (mAP differs by 9)" in failed.skipped
    assert result.machine.cores <= (os.cpu_count() or 1)
    saved = json.loads(result.save(tmp_path).read_text())
    assert (saved["format"], saved["image_size"], saved["command"]) == (2, 8, "mlkdc bench photos")
    assert saved["rows"][0]["timing"]["median_ms"] == fine.timing.median_ms
    assert "numpy" in saved["versions"]
    assert BenchFile.load(tmp_path) == result


@pytest.mark.converter
def test_artifacts_of_equal_name_get_their_run_in_front(tmp_path):
    folders = [tmp_path / run / "export/onnx-fp32" for run in ("teacher", "student")]
    for folder in folders:
        write_artifact(folder)
    assert [row.name for row in artifact_rows(folders)] == ["teacher/onnx-fp32", "student/onnx-fp32"]
    with pytest.raises(UsageError, match="is not an artifact"):
        artifact_rows([tmp_path])
