"""What the system says of itself, here and where it says less."""

import json
import os
import sys

import numpy as np
import pytest

from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import version_numbers, versions


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
    monkeypatch.setattr("mlkdc.runtime.system.CPUINFO", path)
    assert machine().vnni is expected


def test_systems_without_affinities_memory_or_cpuinfo(tmp_path, monkeypatch):
    """Windows and macOS."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.setattr("mlkdc.runtime.system.CPUINFO", tmp_path / "none")
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


def test_an_arm_board_is_named_by_its_device_tree(tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: fp asimd\n")
    (tmp_path / "model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
    monkeypatch.setattr("mlkdc.runtime.system.CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("mlkdc.runtime.system.DEVICE_TREE", tmp_path / "model")
    assert machine().cpu == "Raspberry Pi 5 Model B Rev 1.0"


@pytest.mark.parametrize(
    ("older", "newer"), [("2.9", "2.36"), ("2.36", "2.36.1"), ("8.0+", "12.0"), ("unknown", "2.17")]
)
def test_versions_are_compared_by_their_numbers(older, newer):
    assert version_numbers(older) < version_numbers(newer)
    assert not version_numbers(newer) < version_numbers(older)
