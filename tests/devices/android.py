"""What Android's own commands print, as small programs for the fake phone, which also note how they were called."""

import contextlib
import shutil
import stat
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from fake_adbd import SHELL

#: Android's own tools where they are installed: the rest is this machine's.
TOYBOX = ("cat", "grep", "head", "kill", "mkdir", "mv", "rm", "sha256sum", "sleep", "tail", "test", "uname")
FIXED = "cmd power set-fixed-performance-mode-enabled "
PROPERTIES = {
    "ro.product.manufacturer": "Acme",
    "ro.product.model": "Fake 9",
    "ro.soc.manufacturer": "Acme",
    "ro.soc.model": "AC900",
    "ro.hardware": "fake",
    "ro.build.version.release": "15",
    "ro.build.version.sdk": "35",
    "ro.product.cpu.abi": "arm64-v8a",
}
THERMAL = """\
IsStatusOverride: false
Thermal Status: {status}
Cached temperatures:
\tTemperature{{mValue=99.0, mType=0, mName=CPU0, mStatus=0}}
HAL Ready: true
HAL connection:
\tThermalHAL AIDL 2  connected: yes
Current temperatures from HAL:
\tTemperature{{mValue={celsius}, mType=0, mName=CPU0, mStatus=0}}
\tTemperature{{mValue=30.5, mType=2, mName=battery, mStatus=0}}
\tTemperature{{mValue=-99.9, mType=5, mName=PA, mStatus=0}}
\tTemperature{{mValue=100.0, mType=8, mName=soc, mStatus=0}}
Current cooling devices from HAL:
\tCoolingDevice{{mValue=120, mType=2, mName=cpu0}}
"""
BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  status: 2
  level: 85
  temperature: 305
"""
POWER = """\
POWER MANAGER (dumpsys power)

Power Manager State:
  mWakefulness={wakefulness}
  mIsPowered=true
Display Power: state={display}
"""


@dataclass
class Android:
    """The phone's own programs in a folder; the fields can be changed at any time.

    Args:
        folder: of the programs.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        (self.folder / "sh").symlink_to(SHELL)
        if toybox := shutil.which("toybox"):
            for name in TOYBOX:
                (self.folder / name).symlink_to(toybox)
        cases = "\n".join(f"{name}) echo '{value}' ;;" for name, value in PROPERTIES.items())
        self.add("getprop", f'case "$1" in\n{cases}\nesac')
        self.add("dumpsys", f'cat "{self.folder}/$1.txt"')
        self.add("cmd", "exit 0")
        self.set(BATTERY, "battery")
        self.screen(on=True)
        self.thermal(0, 41.5)

    @property
    def calls(self) -> list[str]:
        """Command lines in order."""
        log = self.folder / "calls.txt"
        return log.read_text().splitlines() if log.exists() else []

    def add(self, name: str, body: str) -> Path:
        """A program of the phone in shell."""
        return self._write(name, f'#!/bin/sh\necho "{name} $*" >>"{self.folder}/calls.txt"\n{body}\n')

    def add_python(self, name: str, code: str) -> Path:
        """A program of the phone in this Python."""
        return self._write(name, f"#!{sys.executable}\n{code}")

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    def set(self, text: str, service: str) -> None:
        """What dumpsys prints for a service."""
        (self.folder / f"{service}.txt").write_text(text)

    def wait_until_restored(self, tmp: Path) -> None:
        """Until nothing lies in ``tmp``, no program of the phone runs, and its clock is free; at most ten seconds."""
        for _ in range(100):
            kept = [*tmp.iterdir(), *self._running(tmp)]
            if not kept and self.calls[-1] == f"{FIXED}false":
                return
            time.sleep(0.1)
        raise AssertionError(f"the phone was not put back: {kept}, {self.calls[-1]}")

    def _running(self, tmp: Path) -> list[str]:
        """Processes whose command line names a file of the phone."""
        running = []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # it has ended
                command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if str(tmp) in command or str(self.folder) in command.partition("?")[0]:
                    running.append(command)
        return running

    def screen(self, on: bool) -> None:
        """Turn it on or off."""
        wakefulness, display = ("Awake", "ON") if on else ("Dozing", "OFF")
        self.set(POWER.format(wakefulness=wakefulness, display=display), "power")

    def thermal(self, status: int, celsius: float) -> None:
        """Make it warmer or cooler."""
        self.set(THERMAL.format(status=status, celsius=celsius), "thermalservice")
