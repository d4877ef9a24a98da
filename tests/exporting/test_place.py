"""One export to a place at a time, and what is there when one is killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlkdc.errors import UsageError
from mlkdc.exporting.place import put_in_place, workplace

REPLACE = """
import os, signal, sys
from pathlib import Path
from mlkdc.exporting.place import put_in_place, workplace
folder, kill_in_the_middle = Path(sys.argv[1]), sys.argv[2] == "kill"
with workplace(folder) as scratch:
    (scratch / "artifact").mkdir()
    (scratch / "artifact" / "model").write_text("new")
    print("working", flush=True)
    if kill_in_the_middle:
        folder.rename(scratch / "replaced")
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def begin(folder: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", REPLACE, str(folder), how]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    return process


def written(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "model").write_text(text)
    return folder


def test_a_second_export_to_a_place_is_refused_and_a_killed_one_leaves_it_as_it_was(tmp_path: Path) -> None:
    folder = written(tmp_path / "onnx-fp32", "old")
    process = begin(folder, "wait")
    with process:
        with pytest.raises(UsageError, match=rf"{folder} is in use by process {process.pid} on"), workplace(folder):
            pass
        # Another place is free.
        with workplace(tmp_path / "onnx-fp16"):
            pass
        process.send_signal(signal.SIGKILL)
    assert (folder / "model").read_text() == "old"
    with workplace(folder) as scratch:
        assert not any(scratch.iterdir())
        put_in_place(written(scratch / "artifact", "new"), folder, scratch)
    assert (folder / "model").read_text() == "new"
    assert [item.name for item in tmp_path.iterdir()] == ["onnx-fp32"]


def test_an_export_killed_between_its_moves_loses_nothing(tmp_path: Path) -> None:
    folder = written(tmp_path / "onnx-fp32", "old")
    with begin(folder, "kill"):
        pass
    assert not folder.exists()
    with workplace(folder):
        assert (folder / "model").read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["onnx-fp32"]


def test_an_export_interrupted_between_its_moves_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = written(tmp_path / "onnx-fp32", "old")
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        moved = rename(self, target)
        if self == folder:
            raise KeyboardInterrupt
        return moved

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), workplace(folder) as scratch:
        put_in_place(written(scratch / "artifact", "new"), folder, scratch)
    assert (folder / "model").read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["onnx-fp32"]
