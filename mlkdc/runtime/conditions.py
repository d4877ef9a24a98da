"""What surrounds a measurement, as Linux tells it: time without a core, temperatures, clocks. Standard library only.

A process that shares its cores looks steady from within: of 36 timed next to busy neighbors, 18 were up to half slower,
and their own calls agreed within 2 %. How long its threads were ready and had no core tells the two apart.
"""

import math
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

THREADS = Path("/proc/self/task")
THERMAL = Path("/sys/class/thermal")
CLOCKS = Path("/sys/devices/system/cpu")
MEMORY = Path("/proc/meminfo")
COOLING_SECONDS = 300
#: A firmware that answers at all does so at once.
FIRMWARE_SECONDS = 5
#: Bits of ``vcgencmd get_throttled`` that are about now; SINCE_BOOT bits higher, they say that it was so once.
THROTTLED = {0: "under-voltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}
SINCE_BOOT = 16


@dataclass(frozen=True)
class Conditions:
    """The fields of :class:`mlkdc.records.bench.Conditions`, which says what they are."""

    waited: float | None
    cpu_fraction: float | None
    celsius: tuple[float, float] | None
    mhz: tuple[float, float] | None
    throttled: str | None
    governor: str | None
    load: float | None
    free_mib: float | None
    cooled_seconds: float


class Watch:
    """Looks at the machine before a measurement, and again after it.

    Args:
        threads: that the measured call uses.
        cooled_seconds: waited for the machine to cool.
    """

    def __init__(self, threads: int, cooled_seconds: float = 0.0) -> None:
        self._threads = threads
        self._cooled_seconds = cooled_seconds
        self._celsius, self._mhz = celsius(), mhz()
        self._load, self._free_mib = _load(), _free_mib()
        self._firmware = firmware_bits()
        self._start = time.perf_counter()
        self._cpu = time.process_time()
        self._waits = waits_ns()

    def read(self) -> Conditions:
        """What happened since."""
        available = (time.perf_counter() - self._start) * self._threads
        return Conditions(
            waited=self._waited(available),
            cpu_fraction=(time.process_time() - self._cpu) / available,
            celsius=both(self._celsius, celsius()),
            mhz=both(self._mhz, mhz()),
            throttled=_throttled(self._firmware, firmware_bits()),
            governor=_text(CLOCKS / "cpu0/cpufreq/scaling_governor"),
            load=self._load,
            free_mib=self._free_mib,
            cooled_seconds=self._cooled_seconds,
        )

    def _waited(self, available: float) -> float | None:
        after = waits_ns()
        if not after:
            return None
        waited = 0.0
        for thread, total in after.items():
            waited += total - self._waits.get(thread, 0)
        return waited / 1e9 / available


def waits_ns() -> dict[str, float]:
    """For each thread of this process, how long it was ready and had no core; empty where Linux does not say."""
    waits: dict[str, float] = {}
    if not THREADS.is_dir():
        return {}
    for thread in THREADS.iterdir():
        # A thread may end meanwhile; kernels without scheduler statistics have no such file, or zeros in it.
        ran_and_waited = [_number(word) for word in (_text(thread / "schedstat") or "").split()]
        if len(ran_and_waited) > 1 and ran_and_waited[0] and ran_and_waited[1] is not None:
            waits[thread.name] = ran_and_waited[1]
    return waits


def celsius() -> float | None:
    """Of the hottest sensor; None where there is none."""
    return _highest(THERMAL.glob("thermal_zone*/temp"), 1000)


def mhz() -> float | None:
    """Of the fastest core; None where the system does not say."""
    return _highest(CLOCKS.glob("cpu[0-9]*/cpufreq/scaling_cur_freq"), 1000)


def firmware_bits() -> int | None:
    """What a Raspberry Pi's firmware reports of throttling; None where it does not, and on other machines."""
    program = shutil.which("vcgencmd")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "get_throttled"], capture_output=True, timeout=FIRMWARE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    # It may say instead that it knows no such command, or that it was not given the device for it.
    bits = re.fullmatch(rb"throttled=0x([0-9a-fA-F]+)", done.stdout.strip())
    if bits is None:
        return None
    return int(bits[1], 16)


def _throttled(before: int | None, after: int | None) -> str | None:
    """What holds now, or came and went in between, in words."""
    if before is None or after is None:
        return None
    passed = (after & ~before) >> SINCE_BOOT
    words = []
    for bit, word in THROTTLED.items():
        if (after | passed) >> bit & 1:
            words.append(word)
    return ", ".join(words)


def cool_down(limit_celsius: float | None) -> float:
    """Wait until the machine is as cool as that, or five minutes; the seconds waited."""
    start = time.monotonic()
    if limit_celsius is None:
        return 0.0
    while time.monotonic() - start < COOLING_SECONDS:
        now = celsius()
        if now is None or now <= limit_celsius:
            break
        time.sleep(1)
    return time.monotonic() - start


def peak_mib() -> float | None:
    """Largest memory of this process; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, kibibytes elsewhere.
    if sys.platform == "darwin":
        return peak / 2**20
    return peak / 2**10


def _highest(files: Iterable[Path], unit: float) -> float | None:
    values = []
    for file in files:
        value = _number(_text(file))
        if value is not None:
            values.append(value / unit)
    return max(values, default=None)


def _number(text: str | None) -> float | None:
    """None where a system says something else: a clock may be ``<unknown>``."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _text(file: Path) -> str | None:
    """None where it is missing or, as with some sensors, cannot be read."""
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None


def both(before: float | None, after: float | None) -> tuple[float, float] | None:
    """What was read before and after; None where either is not known."""
    if before is None or after is None:
        return None
    return before, after


def _load() -> float | None:
    if not hasattr(os, "getloadavg"):
        return None
    try:
        return os.getloadavg()[0]
    except OSError:
        return None


def _free_mib() -> float | None:
    available = re.search(r"^MemAvailable:\s*(\d+) kB$", _text(MEMORY) or "", re.MULTILINE)
    if available is None:
        return None
    return int(available[1]) / 2**10
