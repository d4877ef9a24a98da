"""ExecuTorch's ``executor_runner``.

Flags and lines: pytorch/executorch, examples/portable/executor_runner/executor_runner.cpp. On Android its log goes to
logcat (runtime/platform/default/android.cpp), elsewhere to stderr.
"""

import math
import re
from dataclasses import asdict
from statistics import median

from mlkdc.devices.adb.program import INPUT, MODEL, PID, WARMUP_SECONDS, Program, Run, failed
from mlkdc.devices.base import Load
from mlkdc.errors import MlkdcError
from mlkdc.records.bench import Turn
from mlkdc.runtime.timing import SETTLED, WINDOW, summarize

PROBE_RUNS = 20

_ITERATION = re.compile(r"Iteration (\d+) of (\d+): (\d+(?:\.\d+)?) ms")
_LOADED = re.compile(r"Model loaded in (\d+(?:\.\d+)?) ms")


class ExecutorRunner(Program):
    """Runs a model so many times, and logs each."""

    name = "executor_runner"
    runtime = "executorch"
    ending = ".pte"
    output = "output-0.bin"  # it adds to the name which output it is
    log = f"logcat -d -v raw --pid=$(cat {PID}) -s ExecuTorch 2>/dev/null"

    def time(self, run: Run, shape: tuple[int, ...], load: Load) -> Turn:
        # It counts calls, not seconds: how many make a second is found first, in a process of its own.
        call_ms = median(_calls(self._timed(run, PROBE_RUNS, load)).values())
        warmup = max(WINDOW, math.ceil(WARMUP_SECONDS * 1000 / call_ms))
        timed = max(load.least_runs, math.ceil(load.least_seconds * 1000 / call_ms))
        return turn(self._timed(run, warmup + timed, load), warmup, load.least_runs)

    def answer(self, shape: tuple[int, ...]) -> str:
        return self._command(["--num_executions=1", "--output_file=output"])

    def _timed(self, run: Run, count: int, load: Load) -> str:
        printed = run(self._command([f"--num_executions={count}", f"--cpu_threads={load.threads}"]))
        if printed.code != 0:
            raise failed(self, printed)
        return printed.text

    def _command(self, options: list[str]) -> str:
        return " ".join([self.path, f"--model_path={MODEL}", f"--inputs={INPUT}", *options])


def turn(printed: str, warmup: int, least_runs: int) -> Turn:
    """What it logged as a record.

    The phone's log is a ring: of a fast model the first lines may be lost, which are those of the warm-up. Where the
    first timed calls are lost too, what is left says nothing of how the time grew.

    Args:
        printed: its log.
        warmup: calls that do not count.
        least_runs: calls that must be known.

    Raises:
        MlkdcError: there are fewer.
    """
    calls = _calls(printed)
    times = [calls[number] for number in sorted(calls) if number > warmup]
    if len(times) < least_runs:
        raise MlkdcError(
            f"the phone's log kept {len(times)} of executor_runner's calls, expected {least_runs}; enlarge it with "
            "`adb logcat -G 16M` and repeat"
        )
    before = [calls[number] for number in sorted(calls) if number <= warmup][-WINDOW:]
    middle = median(times)
    settled = abs(median(before or times[:WINDOW]) - middle) <= SETTLED * middle
    timed = asdict(summarize(times, first_ms=calls.get(1), warmup_runs=warmup, settled=settled))
    # Minutes need all calls as well, and so many of them no log keeps.
    timed["minute_ms"] = ()
    if warmup + 1 not in calls:
        timed["drift"] = None
    loaded = _LOADED.search(printed)
    return Turn(**timed, load_ms=(float(loaded[1]) or None) if loaded else None)


def _calls(printed: str) -> dict[int, float]:
    """Milliseconds by number, from 1. Raises :class:`MlkdcError` where there are none, or they are no times."""
    calls = {int(number): float(taken) for number, _, taken in _ITERATION.findall(printed)}
    if not calls:
        raise MlkdcError(
            "executor_runner logged no times of single calls; build a recent one with -DEXECUTORCH_ENABLE_LOGGING=ON "
            "-DEXECUTORCH_LOG_LEVEL=Info"
        )
    if not min(calls.values()) > 0:
        raise MlkdcError(
            f"expected times above 0 ms from executor_runner, got {min(calls.values()):f} ms for one of its calls; "
            "take another build"
        )
    return calls
