"""What an Android phone says of itself: what it is, and how it is doing."""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from mlkdc.devices.adb.client import Adb
from mlkdc.records.bench import Conditions
from mlkdc.records.machine import Machine
from mlkdc.runtime.conditions import both

#: As android.os.PowerManager numbers them.
THERMAL_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
# Of android.os.Temperature: battery voltage, current and percentage are listed among the temperatures.
_NO_TEMPERATURES = ("6", "7", "8")
_PLAUSIBLE_CELSIUS = (0.0, 150.0)

_FACTS = {
    "model": "getprop ro.product.manufacturer; getprop ro.product.model",
    "chip": "getprop ro.soc.manufacturer; getprop ro.soc.model; getprop ro.hardware",
    "android": "getprop ro.build.version.release",
    "sdk": "getprop ro.build.version.sdk",
    "abi": "getprop ro.product.cpu.abi",
    "kernel": "uname -r",
    "cores": "cat /sys/devices/system/cpu/present",
    "affinity": "grep Cpus_allowed_list /proc/self/status",
    "memory": "cat /proc/meminfo",
    "battery": "dumpsys battery",
}
_NOW = {
    "thermal": "dumpsys thermalservice",
    "power": "dumpsys power",
    "governor": "cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
    "load": "cat /proc/loadavg",
    "memory": "cat /proc/meminfo",
}


@dataclass(frozen=True)
class Facts:
    """What does not change.

    Args:
        machine: the phone.
        notes: on it, in sentences.
    """

    machine: Machine
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Now:
    """How the phone is doing; None where it does not say.

    Args:
        dark: whether its screen is off.
        status: how much it throttles, an index of :data:`THERMAL_STATUS`.
        celsius: of the hottest sensor.
    """

    dark: bool | None
    status: int | None
    celsius: float | None
    governor: str | None
    load: float | None
    free_mib: float | None


def read_facts(adb: Adb) -> Facts:
    """Ask the phone what it is. Raises :class:`DeviceLost`."""
    said = _ask(adb, _FACTS)
    android, abi = said["android"] or "of an unknown version", said["abi"] or "unknown ABI"
    sdk = said["sdk"] or "?"
    machine = Machine(
        cpu=" ".join(said["chip"].split()) or "unknown",
        cores=_cores(said["cores"]),
        memory_gib=_kib(said["memory"], "MemTotal", per=2**20),
        system=f"Android {android} (API {sdk}) {abi}, Linux {said['kernel']}",
    )
    affinity = said["affinity"].partition(":")[2].strip() or "unknown"
    model = " ".join(said["model"].split()) or "unknown"
    phone = f"Phone: {model}, Android {android}, {abi}; its threads may use cores {affinity}."
    return Facts(machine, (phone, _battery(said["battery"])))


def read_now(adb: Adb) -> Now:
    """Ask the phone how it is doing. Raises :class:`DeviceLost`."""
    said = _ask(adb, _NOW)
    return Now(
        dark=_dark(said["power"]),
        status=_number(re.search(r"Thermal Status: (\d+)", said["thermal"])),
        celsius=_hottest(said["thermal"]),
        governor=said["governor"] or None,
        load=_decimal(said["load"].partition(" ")[0]),
        free_mib=_kib(said["memory"], "MemAvailable", per=2**10),
    )


def conditions(before: Now, after: Now, cooled_seconds: float) -> Conditions:
    """What surrounded a turn between two looks at the phone: no clock, which has fallen when the work has ended."""
    return Conditions(
        celsius=both(before.celsius, after.celsius),
        throttled=throttled(after),
        governor=before.governor,
        load=before.load,
        free_mib=before.free_mib,
        cooled_seconds=cooled_seconds,
    )


def throttled(now: Now) -> str | None:
    """Its thermal status in words, empty for none."""
    if now.status is None:
        return None
    if now.status == 0:
        return ""
    return f"thermal status {now.status} ({thermal_word(now.status)})"


def thermal_word(status: int) -> str:
    """What a thermal status means."""
    if status < len(THERMAL_STATUS):
        return THERMAL_STATUS[status]
    return "unknown"


def _ask(adb: Adb, commands: Mapping[str, str]) -> dict[str, str]:
    """What each command prints, in one connection; empty where it fails, or the phone says no more."""
    rule = f"mlkdc-{secrets.token_hex(8)}"
    script = "\n".join(f"{command} 2>/dev/null; echo; echo {rule}" for command in commands.values())
    parts = adb.shell(script).text.split(f"{rule}\n")
    said = {name: part.strip() for name, part in zip(commands, parts, strict=False)}
    return {name: said.get(name, "") for name in commands}


def _cores(present: str) -> int | None:
    """Of a list like ``0-7`` or ``0-3,6``; None where it is another."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", present):
        return None
    cores = 0
    for part in present.split(","):
        first, _, last = part.partition("-")
        cores += int(last or first) - int(first) + 1
    return cores


def _kib(meminfo: str, key: str, per: int) -> float | None:
    size = re.search(rf"^{key}:\s+(\d+) kB", meminfo, re.MULTILINE)
    if size is None:
        return None
    return round(int(size[1]) / per, 1)


def _battery(dump: str) -> str:
    level = re.search(r"^\s*level: (\d+)", dump, re.MULTILINE)
    if level is None:
        return "It does not say how full its battery is."
    sources = re.findall(r"^\s*(\w+) powered: true", dump, re.MULTILINE)
    if not sources:
        return f"Its battery was at {level[1]} % and discharging."
    return f"Its battery was at {level[1]} %, powered by {' and '.join(sources)}: charging warms it."


def _dark(dump: str) -> bool | None:
    display = re.search(r"Display Power: state=(\w+)", dump)
    if display is not None:
        return display[1] != "ON"
    wakefulness = re.search(r"mWakefulness=(\w+)", dump)
    if wakefulness is None:
        return None
    return wakefulness[1] != "Awake"


def _hottest(dump: str) -> float | None:
    # The lists before it are of earlier readings.
    current = dump.partition("Current temperatures from HAL:")[2].partition("Current cooling devices")[0]
    values = []
    for value, kind in re.findall(r"Temperature\{mValue=([^,]+), mType=(-?\d+)", current):
        celsius = _decimal(value)
        if celsius is None or kind in _NO_TEMPERATURES:
            continue
        if _PLAUSIBLE_CELSIUS[0] < celsius < _PLAUSIBLE_CELSIUS[1]:
            values.append(celsius)
    return max(values, default=None)


def _decimal(text: str) -> float | None:
    if not re.fullmatch(r"-?\d+(\.\d+)?", text):
        return None
    return float(text)


def _number(match: re.Match[str] | None) -> int | None:
    if match is None:
        return None
    return int(match[1])
