"""What a measurement is made on, as the operating system describes it. Standard library only."""

import os
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
DEVICE_TREE = Path("/proc/device-tree/model")
VNNI_FLAGS = frozenset({"avx_vnni", "avx512_vnni"})


@dataclass(frozen=True)
class System:
    """This computer; the fields of :class:`mlkdc.records.machine.Machine`, which says what they are."""

    cpu: str
    cores: int
    vnni: bool | None
    memory_gib: float | None
    system: str


def system() -> System:
    """This computer."""
    return System(
        cpu=_cpuinfo("model name") or _board() or platform.processor() or platform.machine(),
        cores=usable_cores(),
        vnni=vnni(),
        memory_gib=_memory_gib(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
    )


def libc() -> str | None:
    """Name and version of the C library, which decides which wheels can be installed; None where there is none."""
    return " ".join(platform.libc_ver()).strip() or None


def version_numbers(text: str) -> tuple[int, ...]:
    """``(2, 36)`` of ``2.36``, to compare; whatever is no number separates."""
    return tuple(int(part) for part in re.findall(r"\d{1,9}", text))


def _board() -> str:
    """What an Arm board calls itself: its /proc/cpuinfo names no model."""
    if not DEVICE_TREE.is_file():
        return ""
    return DEVICE_TREE.read_text(encoding="utf-8", errors="replace").strip("\0\n ")


def usable_cores() -> int:
    """How many cores this process may use, at least 1."""
    # Only Linux has affinities; a container's are often fewer than the machine's cores.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def vnni() -> bool | None:
    """Whether an x86 processor adds products of bytes in 32 bits in one instruction; others use 16, which overflow.

    None for other processors, and on systems other than Linux, which alone lists the flags (/proc/cpuinfo).
    """
    flags = _cpuinfo("flags").split()  # an Arm processor has "Features" instead
    if not flags:
        return None
    return not VNNI_FLAGS.isdisjoint(flags)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of Python and of those packages that are installed; none of them is imported."""
    installed = {"python": platform.python_version()}
    for package in packages:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def _cpuinfo(key: str) -> str:
    """What Linux says of the first processor; empty on other systems and where the key is missing."""
    if not CPUINFO.is_file():
        return ""
    for line in CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
