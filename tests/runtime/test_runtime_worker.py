"""The worker as a process, and what the light packages may load."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from mlkdc.runtime.worker import main

from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions


def worker(*arguments) -> subprocess.CompletedProcess:
    argv = [sys.executable, "-m", "mlkdc.runtime.worker", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_predict_writes_probabilities(make_artifact, images, expected, tmp_path, dtype):
    np.save(tmp_path / "images.npy", images.astype(dtype))
    out = tmp_path / "out.npy"
    assert main(["predict", str(make_artifact()), str(tmp_path / "images.npy"), str(out), "--threads", "1"]) == 0
    found = np.load(out)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected(images), atol=1e-6)


def test_time_in_its_own_process_prints_one_json_line(make_artifact):
    done = worker("time", make_artifact(dtype="uint8"), "--runs", 200, "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    result = json.loads(done.stdout)
    assert result["runs"] == 200
    assert 0 < result["min_ms"] <= result["median_ms"] <= result["p90_ms"] <= result["p99_ms"]
    assert isinstance(result["stable"], bool)


def test_a_fault_is_one_line_and_exit_code_2(make_artifact, tmp_path):
    folder = make_artifact()
    (folder / "model.onnx").write_bytes(b"")
    done = worker("time", folder)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "model.onnx has 0 bytes" in done.stderr


def test_predict_refuses_what_is_no_array(make_artifact, tmp_path, capsys):
    (tmp_path / "images.npy").write_bytes(b"text")
    assert main(["predict", str(make_artifact()), str(tmp_path / "images.npy"), str(tmp_path / "o.npy")]) == 2
    assert "expected a .npy array of images" in capsys.readouterr().err
    assert not (tmp_path / "o.npy").exists()


def test_bench_and_runtime_load_no_training_code():
    code = (
        "import sys, mlkdc.bench, mlkdc.devices, mlkdc.runtime, mlkdc.runtime.worker\n"
        "from mlkdc.runtime.base import RUNTIMES\n"
        "RUNTIMES.names()\n"
        "heavy = {'torch', 'torchvision', 'timm', 'accelerate', 'sklearn', 'onnx', 'onnxruntime', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name\t: Old\nflags\t\t: fpu avx2 fma\n", False),
        ("model name\t: New\nflags\t\t: fpu avx2 avx512_vnni\n", True),
        ("model name\t: Small\nflags\t\t: fpu avx_vnni avx2\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", None),
        (None, None),
    ],
)
def test_vnni_is_read_from_cpuinfo(cpuinfo, expected, tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        path.write_text(cpuinfo)
    monkeypatch.setattr("mlkdc.runtime.machine.CPUINFO", path)
    assert machine().vnni is expected


def test_systems_without_affinities_memory_or_cpuinfo(tmp_path, monkeypatch):
    """Windows and macOS."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.setattr("mlkdc.runtime.machine.CPUINFO", tmp_path / "none")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    computer = machine()
    assert (computer.cores, computer.memory_gib, computer.vnni) == (1, None, None)


def test_machine_and_versions():
    computer = machine("cuda")
    assert computer.cpu
    assert 1 <= computer.cores <= (os.cpu_count() or 1)
    assert computer.memory_gib > 0
    assert computer.device == "cuda"
    assert set(json.loads(computer.model_dump_json())) == {"cpu", "cores", "vnni", "memory_gib", "system", "device"}
    known = versions(["numpy", "no-such-package-anywhere"])
    assert known["numpy"] == np.__version__
    assert known["python"] == sys.version.split()[0]
    assert "no-such-package-anywhere" not in known
