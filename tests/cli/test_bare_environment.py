"""As on a device: a fresh virtual environment with the wheel and ONNX Runtime, and an artifact copied to it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LARGEST_MB = 250

pytest.importorskip("onnxslim")
pytestmark = [
    pytest.mark.converter,
    pytest.mark.skipif(not os.environ.get("CI"), reason="installs packages: in CI, or with CI=1"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment's folder of commands."""
    folder = tmp_path_factory.mktemp("bare")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    commands = folder / "venv" / "bin"
    subprocess.run([commands / "pip", "--quiet", "install", f"{wheel}[onnx-runtime]"], check=True)
    return commands


def call(bare: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [bare / "mlkdc", *arguments]
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, check=False)


def test_it_is_small_and_has_no_torch(bare: Path) -> None:
    listed = subprocess.run([bare / "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True)
    names = {line.partition("==")[0].lower() for line in listed.stdout.splitlines()}
    assert names.isdisjoint({"torch", "torchvision", "timm", "accelerate", "scikit-learn", "scipy"})
    size = sum(path.stat().st_size for path in bare.parent.rglob("*") if path.is_file()) / 1e6
    assert size < LARGEST_MB


def test_a_copied_run_is_used_there(bare: Path, finished_run: Path, tmp_path: Path) -> None:
    home = finished_run.parent.parent
    run = Path(shutil.copytree(finished_run, tmp_path / "photos-run"))
    artifact = str(run / "export" / "onnx-fp32")
    photos = str(home / "photos")
    for arguments in (
        ("--help",),
        ("ls", "recipes"),
        ("ls", "methods"),
        ("ls", "models"),
        ("validate", "l2d-mobilenet"),
        ("data", photos),
        ("predict", f"{photos}/images", "--model", artifact),
        ("evaluate", artifact, "--data", photos),
        ("bench", artifact, "--passes", "1", "--threads", "1"),
        ("report", str(run)),
        ("doctor",),
    ):
        done = call(bare, *arguments, cwd=tmp_path)
        assert done.returncode == 0, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
    scores = json.loads(call(bare, "evaluate", artifact, "--data", photos, "--json", cwd=tmp_path).stdout)
    assert scores["metrics"]["mAP"] > 0
    refused = call(bare, "distill", "--recipe", "quickstart", cwd=tmp_path)
    assert refused.returncode == 2
    assert "pip install 'mlkdc[train]'" in refused.stderr
