"""A Chromium of this machine without a window, with a profile of its own that is removed afterwards."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from mlkdc.devices.base import DeviceLost
from mlkdc.errors import MlkdcError, UsageError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SECONDS_TO_END = 5.0
OPTIONS = (
    "--headless=new",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--mute-audio",
)
#: What lets a graphics card be used where Chromium is cautious by default, and a software one where there is none.
WEBGPU_OPTIONS = ("--enable-unsafe-webgpu", "--enable-features=Vulkan", "--enable-unsafe-swiftshader")


def find_chromium() -> str | None:
    """The path of an installed Chromium or Chrome."""
    for program in PROGRAMS:
        path = shutil.which(program)
        if path:
            return path
    return None


class Chromium:
    """Started with a page, stopped by its process id.

    Args:
        url: of the page.
        webgpu: whether the page uses it.

    Raises:
        UsageError: no Chromium is installed.
        MlkdcError: it cannot be started.
    """

    def __init__(self, url: str, webgpu: bool) -> None:
        program = find_chromium()
        if program is None:
            raise UsageError(
                f"found no Chromium: none of {', '.join(PROGRAMS)} is on the PATH; install one, "
                "or use `--device browser` and open the page in any browser"
            )
        self._profile = Path(tempfile.mkdtemp(prefix="mlkdc-chromium-"))
        self._said = self._profile / "stderr.txt"
        command = [program, *OPTIONS, f"--user-data-dir={self._profile}"]
        if webgpu:
            command += WEBGPU_OPTIONS
        # Chromium's sandbox does not start for root.
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")
        quiet = subprocess.DEVNULL
        try:
            with self._said.open("wb") as said:
                self._process = subprocess.Popen([*command, url], stdin=quiet, stdout=quiet, stderr=said)
        except OSError as error:
            shutil.rmtree(self._profile, ignore_errors=True)
            raise MlkdcError(f"could not start {program}: {error.strerror or error}") from error

    def check(self) -> None:
        """Raise DeviceLost where it has ended."""
        code = self._process.poll()
        if code is not None:
            lines = self._said.read_text(encoding="utf-8", errors="replace").split("\n")
            last = next((line.strip() for line in reversed(lines) if line.strip()), "it gave no reason")
            raise DeviceLost(f"Chromium ended with exit code {code} ({last})")

    def close(self) -> None:
        """End it and remove its profile."""
        self._process.terminate()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        end = time.monotonic() + SECONDS_TO_END
        while self._profile.exists() and time.monotonic() < end:
            shutil.rmtree(self._profile, ignore_errors=True)
            # Its helpers end a little later than it does, and may still write.
            time.sleep(0.05)
