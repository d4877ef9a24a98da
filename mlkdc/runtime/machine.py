"""What a measurement was made on."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")


def machine() -> dict[str, Any]:
    """cpu (model name), cores (that this process may use), vnni, memory_gib (None if not told), system, device."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "vnni": vnni(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "device": "cpu",
    }


def vnni() -> bool | None:
    """Whether an x86 processor adds up products of bytes in 32 bits, at once; without it in 16, which overflow.

    None for other processors, and where the system does not tell: only Linux does, in /proc/cpuinfo.
    """
    flags = _told("flags").split()  # an Arm processor has "Features"
    return not {"avx_vnni", "avx512_vnni"}.isdisjoint(flags) if flags else None


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of Python and of those packages that are installed; none of them is imported."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _cpu_name() -> str:
    return _told("model name") or platform.processor() or platform.machine()


def _told(wanted: str) -> str:
    """What Linux says of the first processor; empty on other systems and where it does not say."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.is_file() else []
    told = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in told if key.strip() == wanted), "")


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
