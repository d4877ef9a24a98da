"""What works without torch, torchvision, timm and accelerate: everything that uses an artifact or a finished run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import write_photos

from mlkdc.records.bench import BenchFile

pytest.importorskip("onnxslim")
pytestmark = pytest.mark.converter

BLOCKED = ("torch", "torchvision", "timm", "accelerate", "safetensors", "sklearn", "scipy", "onnx")
# Read by every Python that starts, the workers of bench and doctor included.
SITE = f"import sys\nfor name in {BLOCKED}:\n    sys.modules[name] = None\n"

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, finished_run: Path) -> Path:
    """A finished run with an ONNX artifact, made with torch, on photos that are moved away afterwards."""
    return finished_run


@pytest.fixture
def without_torch(tmp_path: Path) -> Command:
    """Run ``mlkdc`` in a process in which the blocked packages are not installed."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE)
    paths = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": paths, "MLKDC_CACHE": str(tmp_path / "cache")}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mlkdc", *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)

    return call


def test_the_packages_are_blocked(without_torch: Command, tmp_path: Path) -> None:
    code = f"import sys, importlib.util as u; print([n for n in {BLOCKED} if u.find_spec(n)])"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", ["recipes", "targets", "methods", "models", "layouts"])
def test_lists(without_torch: Command, kind: str) -> None:
    done = without_torch("ls", kind)
    assert done.returncode == 0, done.stderr
    expected = {"recipes": "quickstart", "targets": "onnx", "methods": "l2d", "models": "repvgg_a0", "layouts": "coco"}
    assert expected[kind] in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_help_validate_and_data(without_torch: Command, tmp_path: Path) -> None:
    assert without_torch("--help").returncode == 0
    valid = without_torch("validate", "l2d-mobilenet")
    assert valid.returncode == 0, valid.stderr
    assert "not checked, because torch is not installed: resnet101, loss terms" in valid.stderr
    wrong = without_torch("validate", "l2d-mobilenet", "--set", "distill.method=l2e", "--set", "targets=[onyx]")
    assert wrong.returncode == 2
    assert "unknown method 'l2e'" in wrong.stderr
    assert "unknown target 'onyx'" in wrong.stderr
    photos = write_photos(tmp_path / "photos")
    shown = without_torch("data", str(photos))
    assert shown.returncode == 0, shown.stderr
    assert "images: train 30, val 9, test 9" in shown.stdout
    table = photos / "labels.csv"
    lines = [line.rpartition(",")[0] for line in table.read_text().splitlines()]
    table.write_text("\n".join(lines) + "\n")  # no split: one is made
    assert "about 70/10/20 train/val/test by image name" in without_torch("data", str(photos)).stdout
    digits = without_torch("data", "digits")
    assert digits.returncode == 2
    assert "pip install 'mlkdc[train]'" in digits.stderr


def test_predict_evaluate_bench_and_report(without_torch: Command, run: Path, tmp_path: Path) -> None:
    artifact, photos = run / "export" / "onnx-fp32", run.parent.parent / "photos"
    predicted = without_torch("predict", str(photos / "images"), "--model", str(artifact), "--json", "--top", "3")
    assert predicted.returncode == 0, predicted.stderr
    lines = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert len(lines) == 48
    assert all(set(line["labels"]) == {"red", "green", "blue"} for line in lines)

    for arguments in ((str(artifact), "--data", str(photos)), (str(artifact),)):
        scored = without_torch("evaluate", *arguments, "--json")
        assert scored.returncode == 0, scored.stderr
        assert json.loads(scored.stdout)["metrics"]["mAP"] > 0

    timed = without_torch("bench", str(artifact), "--passes", "1", "--threads", "1", "--runs", "200")
    assert timed.returncode == 0, timed.stderr
    assert "onnx-fp32" in timed.stdout
    assert "skipped" not in timed.stdout
    both = without_torch("bench", str(run), "--passes", "1", "--threads", "1", "--runs", "200", "--out", "both.json")
    assert both.returncode == 0, both.stderr
    eager, exported = BenchFile.load_from(tmp_path / "both.json").rows
    assert eager.skipped is not None
    assert "torch" in eager.skipped
    assert exported.timing is not None

    page = without_torch("report", str(run))
    assert page.returncode == 0, page.stderr
    assert Path(page.stdout.strip()).is_file()


def test_doctor_says_what_can_be_run_and_what_not(without_torch: Command) -> None:
    done = without_torch("doctor", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    states = {state["target"]: state for state in found["targets"]}
    assert states["onnx"]["run"] == "ready"
    assert states["onnx"]["export"].startswith("missing torch, ")
    assert found["training"].endswith("pip install 'mlkdc[train]'")


@pytest.mark.parametrize(
    "arguments",
    [
        ("distill", "--recipe", "quickstart"),
        ("run", "--recipe", "quickstart"),
        ("export", "RUN"),
        ("evaluate", "RUN"),
        ("reproduce", "paper/l2d-table1", "--data", "."),
    ],
)
def test_the_making_half_answers_with_one_sentence(
    without_torch: Command, run: Path, arguments: tuple[str, ...]
) -> None:
    done = without_torch(*(str(run) if part == "RUN" else part for part in arguments))
    assert done.returncode == 2
    (sentence,) = done.stderr.strip().splitlines()
    assert "needs torch, torchvision, timm, accelerate, safetensors, not installed here" in sentence
    extra = "onnx" if arguments[0] == "export" else "train"
    assert sentence.endswith(f"run: pip install 'mlkdc[{extra}]'")
