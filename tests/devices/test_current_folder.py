"""An agent starts in somebody's folder, over ssh at home: what lies there is not Python's, NumPy's or mlkdc's."""

import subprocess
import sys
from pathlib import Path

import pytest

from mlkdc.commands.device import check_device
from mlkdc.commands.doctor import import_failure
from mlkdc.devices import Load, LocalDevice, Subject
from mlkdc.devices.bootstrap import start_code
from mlkdc.errors import MlkdcError
from mlkdc.records.manifest import Manifest

#: Of Python, of what the agent needs, and of what it runs.
NAMES = ("base64", "random", "signal", "tempfile", "json", "numpy", "onnxruntime", "torch", "mlkdc")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with programs of a user's, each of which says when it is run."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in NAMES:
        (folder / f"{name}.py").write_text(f"open({str(folder)!r} + '/ran', 'a').write('{name} ')\n")
    monkeypatch.chdir(folder)
    return folder


def test_the_agent_and_its_worker_run_nothing_of_it(home: Path, make_artifact) -> None:
    folder = make_artifact()
    with LocalDevice() as device:
        device.open()
        device.turn(Subject(folder, Manifest.load(folder)), Load(threads=1, least_seconds=0.1))
    assert not (home / "ran").exists()


def test_the_torch_models_process_runs_nothing_of_it(home: Path, tmp_path: Path) -> None:
    with LocalDevice() as device:
        device.open()
        with pytest.raises(MlkdcError, match=r"UsageError: .*none"):
            device.eager(tmp_path / "none", Load(threads=1))
    assert not (home / "ran").exists()


def test_doctor_runs_nothing_of_it(home: Path) -> None:
    states = {state.package: state.state for state in check_device("local").runtimes}
    assert (states["numpy"], states["onnxruntime"]) == ("ready", "ready")
    assert import_failure(["numpy", "onnxruntime"]) is None
    assert not (home / "ran").exists()


def test_mlkdc_is_found_where_only_the_checkout_has_it(home: Path, tmp_path: Path) -> None:
    """As with ``python -m mlkdc`` in a checkout, of which the child knows nothing."""
    checkout = Path(__file__).parents[2]
    code = (
        f"import sys; sys.path[:0] = [{str(checkout)!r}]\n"
        "from pathlib import Path\nfrom mlkdc.devices.local import _EAGER\n"
        "import subprocess\nraise SystemExit(subprocess.run([sys.executable, '-c', _EAGER, '--help']).returncode)\n"
    )
    done = subprocess.run([sys.executable, "-P" if sys.version_info >= (3, 11) else "-B", "-c", code], check=False)
    assert done.returncode == 0


def test_the_line_that_starts_it_comes_before_any_import() -> None:
    first = start_code().split(";")[:3]
    assert first == ["import sys", "sys.path=[p for p in sys.path if p]", "import base64"]
