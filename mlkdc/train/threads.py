"""How many threads torch trains with on a CPU, by what else is running.

OpenMP's threads wait for each other after every operation, by default in a busy loop. Where another process holds one
of the cores, all threads wait for the one that was put aside: two threads are then slower than one.
"""

import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from mlkdc.train.containers import CGROUPS, MEMBERSHIP, cpu_quota

STAT = Path("/proc/stat")
SECONDS = 0.5
CHOOSE = "(`--set train.threads=N` or OMP_NUM_THREADS=N to choose)"


@contextmanager
def training_threads(chosen: int | None, say: Callable[[str], None]) -> Iterator[None]:
    """Within it, torch has the threads of a training on a CPU; afterwards as many as before.

    Args:
        chosen: ``train.threads``; None = as OMP_NUM_THREADS says, else by what else is running.
        say: is told, in one sentence, if other work or a container's limit leaves fewer than torch would take.
    """
    before = torch.get_num_threads()
    if chosen is not None:
        torch.set_num_threads(chosen)
    elif "OMP_NUM_THREADS" not in os.environ:
        cpus, quota = usable_cpus(), cpu_quota(CGROUPS, MEMBERSHIP)
        processors = max(len(cpus), before)
        busy = busy_cores(cpus, lambda: time.sleep(SECONDS))
        threads = free_threads(before, processors - busy, quota)
        if threads < before:
            torch.set_num_threads(threads)
            say(f"{_reason(processors, quota, busy)}: training on {_counted(threads, 'thread')} {CHOOSE}")
    try:
        yield
    finally:
        torch.set_num_threads(before)


def free_threads(most: int, idle: float, quota: float | None) -> int:
    """How many threads find a processor of their own, at least 1.

    Args:
        most: as many as torch would take; often one for each core, which is two processors.
        idle: how many processors compute for nobody.
        quota: of processor time, in processors; None = no limit.
    """
    threads = min(most, round(idle))
    if quota is not None:
        # A thread too many uses the quota up, and then all of them are stopped until the next period.
        threads = min(threads, int(quota))
    return max(1, threads)


def usable_cpus() -> frozenset[int]:
    """The numbers of the processors that this process may run on; empty where the system does not tell."""
    if not hasattr(os, "sched_getaffinity"):
        return frozenset()
    return frozenset(os.sched_getaffinity(0))


def busy_cores(cpus: Collection[int], wait: Callable[[], object], stat: Path = STAT) -> float:
    """How many of some processors compute while this process waits; 0 where the system does not tell.

    Args:
        cpus: their numbers.
        wait: lets some time pass.
        stat: as Linux writes it.
    """
    if not stat.is_file():
        return 0.0
    before = _times(stat.read_text(encoding="ascii"))
    wait()
    after = _times(stat.read_text(encoding="ascii"))
    busy = 0.0
    for cpu in cpus:
        if cpu in before and cpu in after:
            idle, total = (new - old for new, old in zip(after[cpu], before[cpu], strict=True))
            busy += 1 - idle / max(total, 1)
    return busy


def _times(stat: str) -> dict[int, tuple[int, int]]:
    """Of each processor the idle and the total time since the start of the machine, in ticks."""
    times = {}
    for number, values in re.findall(r"^cpu(\d+) (.*)$", stat, re.MULTILINE):
        # user, nice, system, idle, waiting for disks, interrupts (2), other machines; guests are part of user.
        ticks = [int(value) for value in values.split()[:8]]
        times[int(number)] = (ticks[3] + ticks[4], sum(ticks))
    return times


def _reason(processors: int, quota: float | None, busy: float) -> str:
    text = _counted(processors, "processor")
    if quota is not None and quota < processors:
        text += f", of which this container may use {quota:g}"
    if round(processors - busy) < processors:
        text += f", {busy:.1f} busy with other work"
    return text


def _counted(number: int, noun: str) -> str:
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun}s"
