"""`mlkdc doctor --device` on a Python whose packages the system installs, as on Raspberry Pi OS and Ubuntu."""

import os
import sys
import sysconfig
from pathlib import Path

import pytest
from click.testing import CliRunner

from mlkdc.agent import install
from mlkdc.cli import cli
from mlkdc.commands import device as doctor
from mlkdc.devices.agent import AgentDevice
from mlkdc.devices.bootstrap import start_code
from mlkdc.records.bench import DeviceInfo
from mlkdc.runtime import cuda

KEPT_BY_THE_SYSTEM = """\
import sys, sysconfig
sys.base_prefix = sys.prefix
sysconfig.get_path = lambda name: {folder!r}
"""


@pytest.fixture
def managed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / install.MANAGED).touch()
    (tmp_path / "sitecustomize.py").write_text(KEPT_BY_THE_SYSTEM.format(folder=str(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("HOME", "/home/pi")


@pytest.mark.usefixtures("managed")
def test_it_gives_the_line_for_an_environment_and_the_name_of_its_python(monkeypatch: pytest.MonkeyPatch) -> None:
    class Board(AgentDevice):
        def open(self) -> DeviceInfo:
            return super().open().model_copy(update={"versions": {}})

    url = "ssh://pi@kitchen?python=python3"
    board = Board(url, [sys.executable, "-c", start_code()])
    monkeypatch.setattr(doctor, "device_at", lambda url, say: board)
    done = CliRunner().invoke(cli, ["doctor", "--device", url])
    line = f"{sys.executable} -m venv ~/mlkdc && ~/mlkdc/bin/pip install numpy"
    assert f"\n  {line}\n" in done.stdout
    assert f"\n  {line} onnxruntime\n" in done.stdout
    assert "\nthe device is then ssh://pi@kitchen?python=/home/pi/mlkdc/bin/python\n" in done.stdout


@pytest.mark.parametrize(
    ("missing", "managed", "line"),
    [
        ((), False, "{python} -m pip install ncnn"),
        ((), True, "{python} -m venv ~/mlkdc && ~/mlkdc/bin/pip install numpy ncnn"),
        (("pip",), False, "{python} -m venv ~/mlkdc && ~/mlkdc/bin/pip install numpy ncnn"),
        (
            ("pip", "ensurepip"),
            True,
            "sudo apt install python3-venv && {python} -m venv ~/mlkdc && ~/mlkdc/bin/pip install numpy ncnn",
        ),
    ],
)
def test_lines(
    missing: tuple[str, ...], managed: bool, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "find_spec", lambda name: None if name in missing else object())
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    monkeypatch.setenv("HOME", "/home/pi")
    if managed:
        (tmp_path / install.MANAGED).touch()
    expected = line.format(python=sys.executable)
    assert install.install_line("ncnn") == expected
    then = "; then name that Python with ?python=/home/pi/mlkdc/bin/python" if "venv" in line else ""
    assert install.run_there("ncnn") == f"run there: {expected}{then}"


def test_pip_installs_in_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made with the system's Python, beside whose library the file lies as well."""
    (tmp_path / install.MANAGED).touch()
    monkeypatch.setattr(install, "find_spec", lambda name: object())
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    assert install.install_line("ncnn") == f"{sys.executable} -m pip install ncnn"


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose modules this machine's agent finds before those that are installed."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return tmp_path


@pytest.mark.skipif(sys.platform != "linux" or cuda.available(), reason="Core ML or TensorRT runs here")
def test_what_can_never_run_there_is_said_also_without_numpy(packages: Path) -> None:
    (packages / "numpy.py").write_text("raise ImportError('No module named numpy')")
    states = {state.target: state for state in doctor.check_device("local").runtimes}
    assert (states["coreml"].state, states["coreml"].install) == ("no: needs macOS", "")
    assert (states["tensorrt"].state, states["tensorrt"].install) == ("no: needs an NVIDIA GPU", "")
    assert states["all"].state == "broken: ImportError: No module named numpy"


def test_an_import_that_takes_too_long_is_a_broken_runtime(packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (packages / "onnxruntime.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(doctor, "IMPORT_SECONDS", 5)
    states = {state.target: state.state for state in doctor.check_device("local").runtimes}
    assert states["onnx"] == "broken: took longer than 5 s"
    assert states["all"] == "ready"
