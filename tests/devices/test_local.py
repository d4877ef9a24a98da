"""The local device: commands, files and what it is; compared with the standard library."""

import os
import sys
from pathlib import Path

import pytest

from mlkdc.devices import Completed, LocalDevice
from mlkdc.errors import MlkdcError


def test_a_command_runs_with_the_same_python_and_added_variables() -> None:
    code = "import os, sys; print(sys.executable, os.environ['MLKDC_X'], 'PATH' in os.environ)"
    done = LocalDevice().run(["-c", code], environment={"MLKDC_X": "7"})
    assert done.stdout.split() == [sys.executable, "7", str("PATH" in os.environ)]
    assert done.failure is None


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("import sys; sys.exit('first\\nlast')", "last"),
        ("import sys; sys.exit(3)", "the worker ended with exit code 3 and no message"),
        ("import os; os.kill(os.getpid(), 9)", "the worker was killed by signal 9 (SIGKILL)"),
    ],
)
def test_a_failure_is_named(code: str, failure: str) -> None:
    assert LocalDevice().run(["-c", code]).failure == failure


def test_output_that_is_not_utf8_is_no_error() -> None:
    done = LocalDevice().run(["-c", "import sys; sys.stdout.buffer.write(bytes([255, 65]))"])
    assert done.stdout.endswith("A")


def test_what_cannot_start_or_takes_too_long() -> None:
    with pytest.raises(MlkdcError, match="could not start /no/such/python: No such file"):
        LocalDevice("/no/such/python").run(["-V"])
    with pytest.raises(MlkdcError, match=r"took longer than 0\.2 s"):
        LocalDevice().run(["-c", "import time; time.sleep(60)"], timeout_seconds=0.2)


def test_files_are_used_where_they_are(tmp_path: Path) -> None:
    device = LocalDevice()
    source = tmp_path / "a.txt"
    source.write_text("content")
    place = device.push(source)
    assert Path(place).samefile(source)
    device.pull(place, tmp_path / "b.txt")
    assert (tmp_path / "b.txt").read_text() == "content"
    device.pull(place, source)
    assert source.read_text() == "content"
    with pytest.raises(MlkdcError, match="local has no file"):
        device.pull(str(tmp_path / "none"), tmp_path / "c.txt")


def test_it_knows_what_it_is() -> None:
    assert LocalDevice().machine().cores >= 1
    assert Completed(0, "", "noise on stderr").failure is None
