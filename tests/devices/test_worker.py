"""The worker as a process, and what the measuring half may load."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlkdc.agent.worker import SPEC_FILE, main
from mlkdc.records.bench import Turn
from mlkdc.records.manifest import Manifest
from mlkdc.runtime.session import spec_of
from mlkdc.runtime.spec import ModelSpec


@pytest.fixture
def pushed(make_artifact):
    """A folder as it lies on a device."""

    def make(**values) -> Path:
        folder = make_artifact(**values)
        (folder / SPEC_FILE).write_text(spec_of(Manifest.load(folder)).to_json())
        return folder

    return make


def worker(*arguments) -> subprocess.CompletedProcess:
    code = "import sys; from mlkdc.agent.worker import main; sys.exit(main())"
    argv = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_predict_writes_probabilities(pushed, images, expected, tmp_path, dtype):
    np.save(tmp_path / "images.npy", images.astype(dtype))
    out = tmp_path / "out.npy"
    assert main(["predict", str(pushed()), str(tmp_path / "images.npy"), str(out), "--threads", "1"]) == 0
    found = np.load(out)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(images), atol=1e-6)


def test_time_in_its_own_process_prints_one_turn(pushed):
    done = worker("time", pushed(dtype="uint8"), "--runs", 200, "--seconds", 0.2, "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert set(json.loads(done.stdout)) == set(Turn.model_fields)
    turn = Turn.model_validate_json(done.stdout)
    assert turn.runs >= 200
    assert 0 < turn.min_ms <= turn.median_ms <= turn.p90_ms


def test_an_error_is_one_line_and_exit_code_2(pushed):
    folder = pushed()
    (folder / "model.onnx").write_bytes(b"")
    done = worker("time", folder, "--threads", 1)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "ONNX Runtime cannot load" in done.stderr


def test_predict_refuses_what_is_no_array(pushed, tmp_path, capsys):
    (tmp_path / "images.npy").write_bytes(b"text")
    assert main(["predict", str(pushed()), str(tmp_path / "images.npy"), str(tmp_path / "o.npy")]) == 2
    assert "expected a .npy array of images" in capsys.readouterr().err
    assert not (tmp_path / "o.npy").exists()


def test_a_spec_comes_out_of_the_pipe_as_it_went_in(make_artifact):
    spec = spec_of(Manifest.load(make_artifact(dynamic=True)))
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert (spec.image_size, spec.classes, spec.dynamic_batch) == (8, 3, True)


def test_the_measuring_half_loads_no_training_code():
    code = (
        "import sys, mlkdc.bench, mlkdc.devices, mlkdc.runtime, mlkdc.agent.worker\n"
        "from mlkdc.runtime.base import RUNTIMES\n"
        "RUNTIMES.names()\n"
        "heavy = {'torch', 'torchvision', 'timm', 'accelerate', 'sklearn', 'onnx', 'onnxruntime'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
