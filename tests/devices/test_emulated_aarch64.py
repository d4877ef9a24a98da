"""The agent on an emulated Arm board over a real SSH server: `make test-aarch64`. Its times mean nothing."""

import getpass
import os
from pathlib import Path

import numpy as np
import pytest
from emulated import BOARD, board

from mlkdc.bench import Plan, Questions, artifact_rows, bench
from mlkdc.commands import device as doctor
from mlkdc.devices import Subject
from mlkdc.devices.ssh import SshDevice
from mlkdc.records.answers import KnownAnswers
from mlkdc.records.bench import BenchFile
from mlkdc.records.manifest import Manifest

pytestmark = [
    pytest.mark.skipif("MLKDC_TEST_AARCH64" not in os.environ, reason="needs a network; `make test-aarch64` runs it"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    return board(tmp_path_factory.mktemp("board"))


@pytest.fixture
def device(sshd, python) -> SshDevice:
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{sshd.port}?python={python}"
    return SshDevice(url, options=sshd.options())


def test_an_artifact_is_measured_there(device, make_artifact, images, expected, tmp_path):
    folder = make_artifact(dtype="uint8")
    targets = np.zeros((len(images), 3), np.uint8)
    known = KnownAnswers(images, expected(images).astype(np.float32), targets)
    rows = artifact_rows([folder])
    figures = bench(
        rows,
        Plan(passes=1, seconds=0.1),
        devices=[device],
        questions={rows[0].name: Questions(known=known)},
        write=lambda so_far: so_far.save_as(tmp_path / "bench.json"),
    )
    assert figures == BenchFile.load_from(tmp_path / "bench.json")
    info = figures.devices[device.name]
    assert info.machine.system.endswith(" aarch64")
    assert info.machine.cpu == BOARD
    assert info.machine.vnni is None
    assert info.libc is not None
    assert info.libc.startswith("glibc ")
    assert info.versions["onnxruntime"] == "1.24.1"
    (row,) = figures.rows
    assert row.skipped is None
    assert row.timing is not None
    assert row.timing.runs >= 200
    assert row.accuracy is not None
    assert row.accuracy.images == len(images)
    assert row.accuracy.max_probability_difference < 1e-6
    assert row.accuracy.label_flips == 0


def test_nothing_is_left_there(device, make_artifact, images):
    folder = make_artifact()
    with device:
        device.open()
        device.answers(Subject(folder, Manifest.load(folder)), images)
        there = Path(device.folder)
        assert (there / "agent.pyz").exists()
    assert not there.exists()


def test_doctor_says_what_runs_there(device, python, monkeypatch):
    monkeypatch.setattr(doctor, "device_at", lambda url, say: device)
    report = doctor.check_device(device.name)
    states = {runtime.target: runtime for runtime in report.runtimes}
    assert states["all"].state == "ready"
    assert states["onnx"].state == "ready"
    assert states["onnx"].version == "1.24.1"
    # It has no pip.
    assert states["ncnn"].install.endswith(f"{python} -m venv ~/mlkdc && ~/mlkdc/bin/pip install numpy ncnn")
    assert states["coreml"].state.startswith("no: ")
