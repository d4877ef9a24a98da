"""How many threads a training on a CPU gets: what is read of the system, and what is made of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mlkdc.train import threads
from mlkdc.train.containers import cpu_quota, memory_limit
from mlkdc.train.threads import busy_cores, free_threads, training_threads


@pytest.mark.parametrize(
    ("cores", "quota", "busy", "expected"),
    [
        (2, None, 0.0, 2),
        (2, None, 0.3, 2),
        (2, None, 1.1, 1),
        (2, None, 2.0, 1),
        (8, None, 0.6, 7),
        (8, 2.0, 0.0, 2),
        (8, 1.5, 0.0, 1),
        (8, 0.5, 0.0, 1),
        (8, 6.0, 5.0, 3),
        (2, 4.0, 0.0, 2),
    ],
)
def test_no_thread_without_a_core_and_always_one(cores: int, quota: float | None, busy: float, expected: int) -> None:
    assert free_threads(cores, cores - busy, quota) == expected


def test_cores_of_two_processors_each() -> None:
    # Half of 64 processors are idle, and torch would take a thread for each of 32 cores.
    assert free_threads(32, 64 - 32.0, None) == 32
    assert free_threads(32, 64 - 40.0, None) == 24


def stat(*cpus: tuple[int, int, int]) -> str:
    """/proc/stat of processors with (user, idle, iowait) ticks."""
    lines = ["cpu  9 9 9 9 9 9 9 9 9 9"]
    for number, (user, idle, iowait) in enumerate(cpus):
        lines.append(f"cpu{number} {user} 0 0 {idle} {iowait} 0 0 0 {user} 0")  # a guest's time is in user too
    return "\n".join([*lines, "intr 1 2 3", "ctxt 4"]) + "\n"


def test_busy_is_what_the_processors_of_this_process_did_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "stat"
    path.write_text(stat((100, 100, 0), (0, 1000, 0), (0, 0, 0)))

    def time_passes() -> None:
        # The first computes three quarters of the time, the second waits for a disk, the third computes all the time.
        path.write_text(stat((175, 125, 0), (0, 1050, 50), (100, 0, 0)))

    assert busy_cores([0, 1], time_passes, path) == pytest.approx(0.75)
    path.write_text(stat((100, 100, 0), (0, 1000, 0), (0, 0, 0)))
    assert busy_cores([0, 1, 2, 7], time_passes, path) == pytest.approx(1.75)
    assert busy_cores([0], time_passes, tmp_path / "none") == 0


def group(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        # A container sees its own group as the root, with or without the path that the host knows it by.
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/docker/abc\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {}, None),
        # Of nested groups the smallest limit holds.
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b\n", {"a/b/cpu.max": "100000 100000\n", "a/cpu.max": "300000 100000\n"}, 1.0),
        # Version 1; cpuset and cpuacct are other controllers.
        (
            "5:cpuset:/x\n4:cpu,cpuacct:/docker/abc\n0::/\n",
            {"cpu/docker/abc/cpu.cfs_quota_us": "250000\n", "cpu/docker/abc/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        (
            "4:cpuacct,cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            None,
        ),
        ("2:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    ],
)
def test_the_quota_of_a_container(membership: str, files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text(membership)
    root = group(tmp_path / "fs", files)
    assert cpu_quota(root, tmp_path / "cgroup") == quota
    assert cpu_quota(root, tmp_path / "none") is None


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "2147483648\n"}, 2**31),
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "1000\n", "memory.max": "3000\n"}, 1000),
        ("4:memory:/docker/abc\n1:cpu:/\n0::/\n", {"memory/docker/abc/memory.limit_in_bytes": "1000\n"}, 1000),
        ("1:cpu:/\n", {"memory/memory.limit_in_bytes": "1000\n"}, None),
    ],
)
def test_the_memory_of_a_container(membership: str, files: dict[str, str], limit: int | None, tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text(membership)
    assert memory_limit(group(tmp_path / "fs", files), tmp_path / "cgroup") == limit


Machine = Callable[[float | None, float], list[str]]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """``machine(quota, busy)``: torch has two threads; what is said about them is put into the returned list."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "SECONDS", 0)
    monkeypatch.setattr(threads, "usable_cpus", lambda: frozenset({0, 1}))
    now = [2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda number: now.__setitem__(0, number))

    def make(quota: float | None, busy: float) -> list[str]:
        monkeypatch.setattr(threads, "cpu_quota", lambda *_: quota)
        monkeypatch.setattr(threads, "busy_cores", lambda *_: busy)
        return []

    return make


def test_a_busy_machine_gets_one_thread_and_is_told_so(machine: Machine) -> None:
    said = machine(None, 1.1)
    with training_threads(None, said.append):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    assert said == [
        "2 processors, 1.1 busy with other work: training on 1 thread "
        "(`--set train.threads=N` or OMP_NUM_THREADS=N to choose)"
    ]
    said = machine(1.5, 0.0)
    with training_threads(None, said.append):
        assert torch.get_num_threads() == 1
    assert said[0].startswith("2 processors, of which this container may use 1.5: training on 1 thread")


def test_a_quiet_machine_is_left_alone_and_a_choice_is_respected(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = machine(4.0, 0.2)
    with training_threads(None, said.append):
        assert torch.get_num_threads() == 2
    said = machine(0.5, 2.0)
    with training_threads(3, said.append):
        assert torch.get_num_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with training_threads(None, said.append):
        assert torch.get_num_threads() == 2
    assert said == []


def test_they_are_given_back_after_an_error(machine: Machine) -> None:
    said = machine(None, 2.0)
    with pytest.raises(KeyboardInterrupt), training_threads(None, said.append):
        raise KeyboardInterrupt
    assert torch.get_num_threads() == 2
