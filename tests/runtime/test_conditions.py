"""What surrounds a measurement, read from files of the test's own, and once from this machine."""

import subprocess
import sys
import time

import pytest

from mlkdc.runtime import conditions
from mlkdc.runtime.conditions import Watch


@pytest.fixture
def linux(tmp_path, monkeypatch):
    """Folders in place of /proc and /sys; ``write(name, text)`` puts a file there."""
    for name in ("THREADS", "THERMAL", "CLOCKS"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setattr(conditions, name, folder)
    monkeypatch.setattr(conditions, "MEMORY", tmp_path / "meminfo")
    monkeypatch.setenv("PATH", str(tmp_path))

    def write(name: str, text: str, mode: int = 0o644) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    return write


def test_waiting_is_the_sum_over_threads_as_a_fraction_of_what_was_available(linux, monkeypatch):
    now = iter([100.0, 102.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    linux("threads/1/schedstat", "5000 1000000000 10\n")
    linux("threads/2/schedstat", "5000 0 10\n")
    watch = Watch(threads=2)
    linux("threads/1/schedstat", "6000 1400000000 10\n")
    linux("threads/3/schedstat", "6000 200000000 10\n")
    # 0.4 s of thread 1 and 0.2 s of a new one, in 2 s with two threads.
    assert watch.read().waited == pytest.approx(0.15)


def test_time_with_a_core_is_a_fraction_of_what_all_threads_could_have_had(linux, monkeypatch):
    now, used = iter([100.0, 102.0]), iter([5.0, 8.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(time, "process_time", lambda: next(used))
    assert Watch(threads=2).read().cpu_fraction == pytest.approx(3 / 4)


def test_temperatures_clocks_memory_and_firmware(linux):
    linux("thermal/thermal_zone0/temp", "41000\n")
    linux("thermal/thermal_zone1/temp", "55500\n")
    linux("clocks/cpu0/cpufreq/scaling_cur_freq", "600000\n")
    linux("clocks/cpu1/cpufreq/scaling_cur_freq", "1800000\n")
    linux("clocks/cpu0/cpufreq/scaling_governor", "ondemand\n")
    linux("meminfo", "MemTotal: 1000 kB\nMemAvailable:    524288 kB\n")
    linux("vcgencmd", "#!/bin/sh\necho throttled=0x50005\n", 0o755)
    found = Watch(threads=1).read()
    assert found.celsius == (55.5, 55.5)
    assert found.mhz == (1800, 1800)
    assert found.governor == "ondemand"
    assert found.free_mib == 512
    assert found.throttled == "under-voltage, throttled"


def test_a_system_that_says_nothing(linux):
    linux("vcgencmd", "#!/bin/sh\necho not registered\n", 0o755)
    found = Watch(threads=1).read()
    assert (found.waited, found.celsius, found.mhz, found.throttled, found.governor) == (None,) * 5
    assert found.cpu_fraction >= 0


@pytest.mark.parametrize(
    "printed",
    [
        "echo 'error=1 error_msg=\"Command not registered\"'",
        "echo throttled=0x",
        "echo throttled=50005",
        "printf 'throttled=\\377'",
        "while :; do :; done",
    ],
)
def test_a_firmware_that_answers_otherwise(linux, printed, monkeypatch):
    monkeypatch.setattr(conditions, "FIRMWARE_SECONDS", 0.3)
    linux("vcgencmd", f"#!/bin/sh\n{printed}\n", 0o755)
    assert Watch(threads=1).read().throttled is None


def test_a_firmware_program_that_does_not_start(linux):
    linux("vcgencmd", "no program", 0o755)
    assert conditions.firmware_bits() is None


@pytest.mark.parametrize("noise", ["", "<unknown>", "nan", "1 2"])
def test_sensors_that_say_something_else(linux, noise):
    linux("thermal/thermal_zone0/temp", noise)
    linux("thermal/thermal_zone1/temp", "41000\n")
    linux("clocks/cpu0/cpufreq/scaling_cur_freq", noise)
    linux("threads/1/schedstat", f"{noise}\n")
    linux("meminfo", f"MemAvailable: {noise}\n")
    found = Watch(threads=1).read()
    assert (found.celsius, found.mhz, found.free_mib) == ((41, 41), None, None)


def test_a_kernel_that_does_not_count_waits_says_nothing_of_them(linux):
    linux("threads/1/schedstat", "0 0 0\n")
    assert conditions.waits_ns() == {}
    assert Watch(threads=1).read().waited is None


def test_nothing_to_report_is_not_the_same_as_no_report(linux):
    linux("vcgencmd", "#!/bin/sh\necho throttled=0x50000\n", 0o755)
    assert Watch(threads=1).read().throttled == "", "only bits of the past are set"


def test_throttling_that_came_and_went_is_seen(linux):
    linux("vcgencmd", "#!/bin/sh\necho throttled=0x10000\n", 0o755)
    watch = Watch(threads=1)
    linux("vcgencmd", "#!/bin/sh\necho throttled=0x50000\n", 0o755)
    assert watch.read().throttled == "throttled"


def test_cooling_waits_until_it_is_cool_enough(linux, monkeypatch):
    linux("thermal/thermal_zone0/temp", "70000\n")
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            linux("thermal/thermal_zone0/temp", "50000\n")

    monkeypatch.setattr(time, "sleep", sleep)
    conditions.cool_down(50.0)
    assert len(slept) == 3
    conditions.cool_down(None)
    assert len(slept) == 3


def test_cooling_has_an_end(linux, monkeypatch):
    linux("thermal/thermal_zone0/temp", "70000\n")
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    assert conditions.cool_down(50.0) == pytest.approx(300, abs=2)


@pytest.mark.slow
def test_a_thread_that_shares_its_core_has_waited():
    """This machine's scheduler, and a process pinned to the same core."""
    code = """
import os, subprocess, sys, time
core = min(os.sched_getaffinity(0))
os.sched_setaffinity(0, {core})
from mlkdc.runtime.conditions import Watch
def waited():
    watch, end = Watch(1), time.perf_counter() + 1
    while time.perf_counter() < end:
        pass
    return watch.read()
busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
found = waited()
busy.kill()
busy.wait()
print(found.waited, found.cpu_fraction)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    waited, cpu_fraction = map(float, done.stdout.split())
    assert waited > 0.2
    assert cpu_fraction < 0.8
    assert waited + cpu_fraction == pytest.approx(1, abs=0.1)


def test_memory_of_this_process():
    import resource

    assert conditions.peak_mib() == pytest.approx(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, rel=0.2)
