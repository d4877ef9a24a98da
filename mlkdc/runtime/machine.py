"""What a measurement was made on, as the operating system describes it."""

import os
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mlkdc.records.machine import Machine

CPUINFO = Path("/proc/cpuinfo")
VNNI_FLAGS = frozenset({"avx_vnni", "avx512_vnni"})


def machine(device: str = "cpu") -> Machine:
    """This computer; ``device`` is what the model runs on."""
    return Machine(
        cpu=_cpuinfo("model name") or platform.processor() or platform.machine(),
        cores=usable_cores(),
        vnni=vnni(),
        memory_gib=_memory_gib(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        device=device,
    )


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
