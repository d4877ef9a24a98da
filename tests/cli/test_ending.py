"""How a command ends when something else fails than what it was asked: output that is lost, faults of our own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from mlkdc.cli import cli, main
from mlkdc.errors import UsageError

COMMAND = [sys.executable, "-m", "mlkdc"]


def run_in_shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    values = {**os.environ, "MLKDC": " ".join(COMMAND), **environment}
    command = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(command, capture_output=True, text=True, env=values, check=False, errors="replace")


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("$MLKDC ls models --long | true", 1, ""),
        ("$MLKDC ls recipes >&-", 0, ""),
        ("$MLKDC ls recipes 2>&- >/dev/null", 0, ""),
        ("$MLKDC ls recipes > /dev/full", 1, "error: standard output cannot be written (No space left on device)\n"),
        ("$MLKDC --help > /dev/full", 1, "error: standard output cannot be written (No space left on device)\n"),
    ],
)
def test_output_that_is_closed_or_full(line: str, code: int, said: str) -> None:
    done = run_in_shell(line)
    assert (done.returncode, done.stderr) == (code, said)


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_a_locale_that_has_no_such_letters(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,labels,split\na.png,caf\u00e9|\u6d77,train\n", encoding="utf-8")
    done = run_in_shell(f"$MLKDC data {tmp_path}", PYTHONIOENCODING="latin-1")
    assert done.returncode == 0, done.stderr
    assert "\\u6d77 " in done.stdout
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run_in_shell(f"$MLKDC data {tmp_path}", **ascii_only)
    assert done.returncode == 0, done.stderr
    assert "\u6d77 " in done.stdout


SLOW = """
import tempfile, time
from mlkdc.cli import cli, main

@cli.command()
def slow():
    with tempfile.TemporaryDirectory() as scratch:
        print(scratch, flush=True)
        time.sleep(60)

main()
"""


@pytest.mark.skipif(os.name == "nt", reason="there a process is ended at once")
def test_what_ends_a_job_leaves_nothing_behind() -> None:
    command = [sys.executable, "-c", SLOW, "slow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        scratch = Path(process.stdout.readline().strip())
        assert scratch.is_dir()
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, said.strip()) == (130, "stopped")
    assert not scratch.exists()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """``mlkdc broken``: a command with a fault of its own; ``mlkdc wrong``: a user's."""

    @click.command()
    def broken() -> None:
        raise ZeroDivisionError("division by zero\nand more")

    @click.command()
    def wrong() -> None:
        raise UsageError("no such thing")

    for command in (broken, wrong):
        monkeypatch.setitem(cli.commands, str(command.name), command)


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["mlkdc", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


@pytest.mark.usefixtures("broken")
def test_a_fault_of_ours_is_one_sentence_and_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert ended(monkeypatch, "broken") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ZeroDivisionError: division by zero; where, is in ")
    (log,) = (tmp_path / "cache" / "errors").iterdir()
    assert str(log) in line
    text = log.read_text(encoding="utf-8")
    assert text.startswith("mlkdc broken\n")
    assert 'raise ZeroDivisionError("division by zero' in text


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(("name", "code"), [("broken", 1), ("wrong", 2)])
def test_debug_shows_the_traceback_wherever_it_is_typed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, code: int
) -> None:
    for arguments in (["--debug", name], [name, "--debug"]):
        assert ended(monkeypatch, *arguments) == code
        said = capsys.readouterr().err
        assert "Traceback (most recent call last)" in said
        assert said.splitlines()[-1].startswith("error: ")
    assert ended(monkeypatch, name) == code
    assert "Traceback" not in capsys.readouterr().err


def test_progress_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    from mlkdc.cli.progress import Shown

    text = "ssh://pi@[fd00::a:1]:22, pass 1/5: [bold]x[/bold]"
    Shown().say(text)
    assert capsys.readouterr().err == f"{text}\n"


def test_a_training_goes_on_when_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlkdc.cli.progress import Shown

    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        shown = Shown()
        for number in range(3):
            shown.say(f"epoch {number}")
        monkeypatch.undo()
        assert shown.console.file is not pipe
        # What is left in the buffer goes nowhere when the file is closed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), write)
