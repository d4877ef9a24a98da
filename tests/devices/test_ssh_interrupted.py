"""Ctrl-C while a machine is measured over ssh: what was measured is kept, and nothing stays there."""

import getpass
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from waiting import waited_for

from mlkdc.records.bench import BenchFile

pytestmark = pytest.mark.skipif(shutil.which("ssh") is None, reason="no ssh client here; install openssh-client")


def program(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


def turns(figures: Path) -> int:
    if not figures.exists():
        return 0
    return sum(len(row.turns) for row in BenchFile.load_from(figures).rows)


def test_ctrl_c_keeps_what_was_measured_and_leaves_nothing(sshd, make_artifact, tmp_path):
    there, figures = tmp_path / "there", tmp_path / "bench.json"
    there.mkdir()
    (tmp_path / "bin").mkdir()
    options = " ".join(sshd.options())
    program(tmp_path / "bin" / "ssh", f'exec {shutil.which("ssh")} {options} "$@"')
    python = program(tmp_path / "python", f'export TMPDIR={there}; exec {sys.executable} "$@"')
    url = f"ssh://{getpass.getuser()}@127.0.0.1:{sshd.port}?python={python}"
    command = [sys.executable, "-m", "mlkdc", "bench", str(make_artifact()), "--device", url, "--out", str(figures)]
    environment = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    pipe = subprocess.PIPE
    # A group of its own: Ctrl-C in a terminal reaches ssh as well.
    with subprocess.Popen(
        [*command, "--passes", "50", "--seconds", "0.5"],
        env=environment,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
        # A shell that starts tests in the background has them ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as bench:
        try:
            assert waited_for(lambda: turns(figures) >= 1 or bench.poll() is not None, seconds=60)
            assert any(there.iterdir())
            # In the middle of the second turn.
            time.sleep(0.3)
        finally:
            os.killpg(bench.pid, signal.SIGINT)
        _, said = bench.communicate(timeout=60)
    assert (bench.returncode, said.splitlines()[-1]) == (130, "stopped")
    assert 1 <= turns(figures) < 50
    assert waited_for(lambda: not any(there.iterdir()), seconds=40)
