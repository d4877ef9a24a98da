"""The bench with fake workers that note who was called when, and with the real one."""

import json
import os
import sys
import time

import pytest

from mlkdc.bench import BASELINE, Row, artifact_row, artifact_rows, bench
from mlkdc.bench import table as table_module
from mlkdc.errors import UsageError
from mlkdc.records.manifest import describe_files
from mlkdc.runtime import Manifest

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
        return Row(name, [sys.executable, str(script), name, str(log), json.dumps(medians), stable], 1234)

    make.log = log
    return make


def by_name(result: dict) -> dict:
    return {(line["name"], line["threads"]): line for line in result["rows"]}


def test_rows_take_turns_within_each_pass(fake):
    told = []
    rows = [fake("a", [1, 1]), fake("b", [1, 1])]
    bench(rows, runs=250, passes=2, threads=[1, 2], progress=told.append)
    order = [line.split("|") for line in fake.log.read_text().splitlines()]
    one_pass = [["a", "1"], ["b", "1"], ["a", "2"], ["b", "2"]]
    assert [line[:2] for line in order] == one_pass * 2
    assert {line[2] for line in order} == {"250"}
    assert all(line[3] == line[1] for line in order), "OMP_NUM_THREADS follows the thread count"
    assert told[0] == "pass 1/2, 1 thread: a"
    assert told[-1] == "pass 2/2, 2 threads: b"


def test_figures_are_medians_over_passes_and_speedups_are_at_equal_threads(fake):
    rows = [fake(BASELINE, [20, 20, 21]), fake("onnx-fp32", [5.0, 5.2, 4.9])]
    lines = by_name(bench(rows, runs=200, passes=3, threads=[1, 2]))
    line = lines["onnx-fp32", 1]
    assert (line["median_ms"], line["p90_ms"], line["p99_ms"]) == (5.0, 10.0, 15.0)
    assert line["min_ms"] == pytest.approx(4.9 / 2)
    assert (line["runs"], line["passes"], line["size_bytes"], line["skipped"]) == (200, 3, 1234, None)
    assert line["stable"]
    assert line["speedup"] == pytest.approx(20 / 5.0)
    assert lines["onnx-fp32", 2]["speedup"] == pytest.approx(10 / 2.5)
    assert lines[BASELINE, 2]["speedup"] == 1


def test_unstable_when_a_worker_says_so_or_the_passes_disagree(fake):
    rows = [fake("says", [1, 1], "unstable"), fake("apart", [1.0, 1.2]), fake("fine", [1.0, 1.05])]
    lines = by_name(bench(rows, runs=200, passes=2, threads=[1]))
    assert [lines[name, 1]["stable"] for name in ("says", "apart", "fine")] == [False, False, True]
    assert lines["fine", 1]["speedup"] is None, "no baseline among the rows"


def failing(code: str) -> Row:
    return Row("broken", [sys.executable, "-c", code])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (failing("import sys; sys.exit('first\\nno such runtime')"), "no such runtime"),
        (failing("import sys; sys.exit(3)"), "the worker ended with exit code 3 and no message"),
        (failing("import os; os.kill(os.getpid(), 9)"), "the worker was killed by signal 9 (SIGKILL)"),
        (failing("print('hello')"), "the worker printed no result: 'hello'"),
        (failing("print(0)"), "the worker printed no result: '0'"),
        (failing("pass"), "the worker printed no result: ''"),
        (Row("broken", ["/no/such/program"]), "could not start /no/such/program: No such file or directory"),
    ],
)
def test_a_row_that_cannot_run_says_why_and_has_no_figures(fake, row, reason):
    lines = by_name(bench([row, fake("fine", [1, 1])], runs=200, passes=2, threads=[1]))
    line = lines["broken", 1]
    assert line["skipped"] == reason
    for name in ("median_ms", "p90_ms", "p99_ms", "min_ms", "runs", "speedup"):
        assert line[name] is None, name
    assert not line["stable"]
    assert lines["fine", 1]["passes"] == 2, "the other rows go on"


def test_failure_in_a_later_pass_skips_the_row_and_a_skipped_baseline_gives_no_speedup(fake):
    rows = [fake(BASELINE, [1]), fake("fine", [1, 1])]
    lines = by_name(bench(rows, runs=200, passes=2, threads=[1]))
    assert "IndexError" in lines[BASELINE, 1]["skipped"]
    assert lines[BASELINE, 1]["median_ms"] is None
    assert lines["fine", 1]["speedup"] is None


def test_a_worker_that_hangs_is_stopped(monkeypatch):
    monkeypatch.setattr(table_module, "TIMEOUT_SECONDS", 0.5)
    start = time.monotonic()
    result = bench([failing("import time; time.sleep(60)")], runs=200, passes=3, threads=[1])
    assert result["rows"][0]["skipped"] == "took longer than 0.5 s"
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("wrong", [{"runs": 199}, {"passes": 0}, {"threads": []}, {"threads": [0]}])
def test_senseless_requests_are_refused(fake, wrong):
    with pytest.raises(UsageError, match="at least 200 runs"):
        bench([fake("a", [1])], **{"runs": 200, "passes": 1, "threads": [1], **wrong})
    with pytest.raises(UsageError, match="0 rows"):
        bench([], runs=200, passes=1, threads=[1])


def write_artifact(folder, **values) -> None:
    """An artifact whose one model file gives sigmoid of the image's channel means; onnx made here."""
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
    settings = {
        "name": "photos",
        "target": "onnx",
        "runtime": "onnxruntime",
        "precision": "fp32",
        "files": describe_files(folder, ["model.onnx"]),
        "classes": list("abc"),
        "thresholds": [0.5] * 3,
        "preprocess": {"size": 8},
        "input": {"name": "image", "shape": [1, 3, 8, 8], "layout": "NCHW", "dtype": "float32"},
        "output": {"name": "probabilities", "shape": [1, 3], "dtype": "float32"},
        "dynamic_batch": False,
        "recipe_hash": "",
        "versions": {},
        "created": "",
        "merge": {},
        "parity": {"reason": None},
        "details": {},
        "quantization": None,
        "status": "ok",
    }
    Manifest(**{**settings, **values}).save(folder)


def test_real_artifacts_are_timed_and_failed_ones_skipped(tmp_path):
    good, bad = tmp_path / "photos/export/onnx-fp32", tmp_path / "photos/export/onnx-int8"
    write_artifact(good)
    write_artifact(bad, status="failed", parity={"reason": "mAP differs by 9"})
    rows = artifact_rows([good, bad])
    assert [row.name for row in rows] == ["onnx-fp32", "onnx-int8"]
    assert rows[0].size_bytes == (good / "model.onnx").stat().st_size
    result = bench(rows, runs=200, passes=1, threads=[1], image_size=8, command="mlkdc bench photos")
    fine, failed = result["rows"]
    assert 0 < fine["min_ms"] <= fine["median_ms"] <= fine["p99_ms"]
    assert "failed export (mAP differs by 9)" in failed["skipped"]
    assert (result["format"], result["image_size"], result["command"]) == (1, 8, "mlkdc bench photos")
    assert result["machine"]["cores"] <= (os.cpu_count() or 1)
    assert "numpy" in result["versions"]
    json.dumps(result, allow_nan=False)


def test_artifacts_of_equal_name_get_their_run_in_front(tmp_path):
    folders = [tmp_path / run / "export/onnx-fp32" for run in ("teacher", "student")]
    for folder in folders:
        write_artifact(folder)
    assert [row.name for row in artifact_rows(folders)] == ["teacher/onnx-fp32", "student/onnx-fp32"]
    with pytest.raises(UsageError, match="is not an artifact"):
        artifact_row(tmp_path)
