"""What sets the limits of drift, spread and warm-up: one artifact, on a quiet machine and on a core that is held up.

    python benchmarks/limits.py ARTIFACT

A process is stopped for some microseconds of every millisecond, as a processor that is too hot skips clocks: every call
takes longer. Calls of more than two milliseconds meet several stops each. Needs two cores; writes
benchmarks/results/limits.json. Nothing else may run meanwhile.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from limit_records import HeldTurn, LimitsStudy, Start
from study_records import turn_without_samples

from mlkdc.devices import LocalDevice, Subject
from mlkdc.records.bench import Turn
from mlkdc.records.manifest import Manifest
from mlkdc.runtime.machine import machine
from mlkdc.runtime.session import open_artifact
from mlkdc.runtime.timing import WINDOW, times_ms

RESULTS = Path(__file__).parent / "results"
SECONDS = 3.0
PERIOD_US = 1000
#: Held up from the middle of the timed calls on, and from the first call on.
MIDDLE_US, START_US = (0, 10, 30, 60, 100, 200), (0, 60)
MIDDLE_TURNS, START_TURNS = 8, 20
STARTS = 10
#: Without a warm-up, from the first call on.
START_SECONDS = 5.0


def turn(worker: list[str], held_us: int, after: float) -> Turn:
    """A turn as the agent takes it, held up for so long in every millisecond.

    Args:
        worker: the agent's program for it.
        after: seconds from the start of the process.
    """
    with subprocess.Popen(worker, stdout=subprocess.PIPE) as process:
        time.sleep(after)
        while process.poll() is None:
            if held_us:
                process.send_signal(signal.SIGSTOP)
                _spin(held_us)
                process.send_signal(signal.SIGCONT)
            _spin(PERIOD_US - held_us)
        assert process.stdout is not None
        return Turn.model_validate_json(process.stdout.read())


def _spin(microseconds: int) -> None:
    """Wait more exactly than by sleeping."""
    end = time.perf_counter_ns() + microseconds * 1000
    while time.perf_counter_ns() < end:
        pass


def held(worker: list[str]) -> list[HeldTurn]:
    """All turns, one of each kind after another, so that what else the machine does meets all of them."""
    began = time.perf_counter()
    turn(worker, 0, 0.0)
    middle = time.perf_counter() - began - SECONDS / 2
    found = []
    for done in range(START_TURNS):
        kinds = [(held_us, 0.0) for held_us in START_US]
        if done < MIDDLE_TURNS:
            kinds += [(held_us, middle) for held_us in MIDDLE_US]
        for held_us, after in kinds:
            measured = turn(worker, held_us, after)
            found.append(HeldTurn(held_us=held_us, from_start=not after, turn=turn_without_samples(measured)))
            print(
                f"{held_us} us from {after:.1f} s: {measured.median_ms:.3f} ms, drift {measured.drift:.3f}", flush=True
            )
    return found


def start(folder: Path) -> Start:
    """What a fresh process needs."""
    command = [sys.executable, __file__, str(folder), "--windows"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return Start(windows_us=json.loads(found.stdout))


def windows(folder: Path) -> list[int]:
    """Medians of ten successive calls in microseconds, from the second call on."""
    with open_artifact(folder, threads=1) as session:
        image = session.random_input()
        session.run(image)
        medians = []
        end = time.perf_counter() + START_SECONDS
        while time.perf_counter() < end:
            medians.append(round(1000 * median(times_ms(lambda: session.run(image), WINDOW))))
    return medians


def main() -> None:
    """Measure and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--windows", action="store_true", help="of this process only, as JSON")
    options = parser.parse_args()
    if options.windows:
        print(json.dumps(windows(options.artifact)))
        return
    # As the agent says to the runtimes.
    os.environ["OMP_NUM_THREADS"] = "1"
    manifest = Manifest.load(options.artifact)
    starts = [start(options.artifact) for _ in range(STARTS)]
    with LocalDevice() as device:
        versions = device.open().versions
        place = device.push(Subject(options.artifact, manifest))
        turns = held([sys.executable, device.archive, "time", place, "--threads", "1", "--seconds", str(SECONDS)])
    LimitsStudy(
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        artifact=f"{manifest.key} of {manifest.name} at {manifest.image_size} px",
        machine=machine(),
        versions=versions,
        turns=tuple(turns),
        starts=tuple(starts),
    ).save(RESULTS)


if __name__ == "__main__":
    main()
