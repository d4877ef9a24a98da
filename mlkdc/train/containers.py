"""What a container (its control groups, of version 1 or 2) leaves of a machine to this process."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

MEMBERSHIP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")

N = TypeVar("N", int, float)


def cpu_quota(root: Path, membership: Path) -> float | None:
    """The processor time that control groups allow this process (a container's ``--cpus``), in cores.

    Args:
        root: where the control groups are mounted, of version 1 or 2.
        membership: lists the group of this process in each hierarchy.

    Returns:
        The smallest limit of the group and those around it; None where there is none.
    """
    return _smallest(root, membership, "cpu", _quota2, _quota1)


def memory_limit(root: Path, membership: Path) -> int | None:
    """The bytes of memory that they allow it (a container's ``--memory``); arguments and result as :func:`cpu_quota`.

    Version 1 has a number beyond any machine's memory for no limit.
    """
    return _smallest(root, membership, "memory", _memory2, _memory1)


def _smallest(
    root: Path,
    membership: Path,
    controller: str,
    read2: Callable[[Path], N | None],
    read1: Callable[[Path], N | None],
) -> N | None:
    """The smallest limit on what a controller counts, read from the folder of a group of either version."""
    if not membership.is_file():
        return None
    limits = []
    for line in membership.read_text(encoding="utf-8").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folders, read = _around(root, path), read2
        elif controller in controllers.split(","):
            folders, read = _around(root / controller, path), read1
        else:
            continue
        limits += [limit for limit in map(read, folders) if limit is not None]
    return min(limits, default=None)


def _around(mount: Path, path: str) -> list[Path]:
    """A group's folder and those around it; of a container, which sees its own group as the root, only some exist."""
    folder = mount / path.strip("/")
    folders = [folder]
    while folder != mount:
        folder = folder.parent
        folders.append(folder)
    return folders


def _quota2(folder: Path) -> float | None:
    """``cpu.max`` of version 2: time and period in microseconds, or ``max`` for no limit."""
    values = _words(folder / "cpu.max")
    if len(values) != 2 or values[0] == "max":
        return None
    return int(values[0]) / int(values[1])


def _quota1(folder: Path) -> float | None:
    """The two files of version 1; a time of -1 is no limit."""
    time_us, period_us = _words(folder / "cpu.cfs_quota_us"), _words(folder / "cpu.cfs_period_us")
    if not time_us or not period_us or int(time_us[0]) < 0:
        return None
    return int(time_us[0]) / int(period_us[0])


def _memory2(folder: Path) -> int | None:
    return _bytes(folder / "memory.max")


def _memory1(folder: Path) -> int | None:
    return _bytes(folder / "memory.limit_in_bytes")


def _bytes(path: Path) -> int | None:
    values = _words(path)
    if not values or values[0] == "max":
        return None
    return int(values[0])


def _words(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return path.read_text(encoding="ascii").split()
