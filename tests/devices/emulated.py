"""An Arm board in a folder: Debian's Python for aarch64 and two wheels, run by qemu. Needs a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

QEMU = shutil.which("qemu-aarch64-static") or "qemu-aarch64"
# Later ones look at the processor's caches when they are imported, and qemu shows them those of the host: they crash.
WHEELS = ("numpy", "onnxruntime==1.24.1")
CORE = """\
processor\t: {number}
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU part\t: 0xd08

"""
BOARD = "Emulated board"
# Its own name becomes sys.executable, which the agent starts again.
PYTHON = """\
#!/bin/sh
export PYTHONHOME={root}/usr PYTHONPATH={wheels} PYTHONDONTWRITEBYTECODE=1
exec {qemu} -0 "$0" -L {root} {root}/usr/bin/{python} "$@"
"""


def board(folder: Path) -> Path:
    """Its Python, on this machine; nothing outside ``folder`` is changed."""
    for program in (QEMU, "apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            pytest.fail(f"there is no {program} here; this test needs Debian with qemu-user-static")
    root, wheels = folder / "root", folder / "wheels"
    for package in _packages(folder / "apt"):
        subprocess.run(["dpkg-deb", "-x", package, root], check=True)
    # qemu takes files of this folder for those of the same name on the host.
    (root / "proc/device-tree").mkdir(parents=True)
    # onnxruntime wants all the cores that it may use.
    cores = [CORE.format(number=number) for number in range(os.cpu_count() or 1)]
    (root / "proc/cpuinfo").write_text("".join(cores))
    (root / "proc/device-tree/model").write_text(f"{BOARD}\0")
    python = (root / "usr/bin/python3").readlink().name
    _unpack_wheels(wheels, python.removeprefix("python"))
    program = folder / "python"
    program.write_text(PYTHON.format(root=root, wheels=wheels, qemu=QEMU, python=python))
    program.chmod(0o755)
    return program


def _packages(folder: Path) -> list[Path]:
    """Python for aarch64 and all that it stands on, by an apt that knows nothing of this machine's packages."""
    for name in ("lists/partial", "cache/archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq"]
    for name, value in options.items():
        apt += ["-o", f"{name}={value}"]
    install = ["install", "--yes", "--download-only", "--no-install-recommends", "python3", "libstdc++6"]
    for command in (["update"], install):
        subprocess.run([*apt, *command], check=True)
    return sorted((folder / "cache/archives").glob("*.deb"))


def _unpack_wheels(folder: Path, version: str) -> None:
    options = ["--target", str(folder), "--only-binary=:all:", "--no-deps", "--python-version", version]
    for platform in ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64"):
        options += ["--platform", platform]
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *options, *WHEELS], check=True)
