"""The page's timing, in node."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mlkdc.devices.browser.server import PAGE


def test_the_pages_timing() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    script = Path(__file__).parent / "protocol_test.mjs"
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", str(script)],
        env={**os.environ, "PROTOCOL_JS": str(PAGE / "protocol.js")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "# pass 12" in done.stdout
