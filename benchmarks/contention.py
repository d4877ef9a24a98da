"""What sets the limits of a verdict: one artifact, timed quiet and next to busy processes.

    python benchmarks/contention.py ARTIFACT

Ten turns at each number of busy processes, by the agent of `mlkdc bench`; then A/A, the same artifact under two names.
Writes benchmarks/results/contention.json. Nothing else may run meanwhile.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from contention_records import ContentionStudy, Situation, TimedTurn
from study_records import turn_without_samples

from mlkdc.bench import Plan, artifact_rows, bench
from mlkdc.bench.verdict import judge
from mlkdc.devices import Load, LocalDevice, Subject
from mlkdc.records.bench import Speedup
from mlkdc.records.manifest import Manifest
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import usable_cores

RESULTS = Path(__file__).parent / "results"
TURNS = 10
THREADS = (1, 2)
BUSY = "while True: pass"


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many others that never sleep."""
    started = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def situation(device: LocalDevice, subject: Subject, processes: int, threads: int) -> Situation:
    """Ten turns, and a comparison of the artifact with itself."""
    print(f"{processes} busy processes, {threads} threads", flush=True)
    with busy(processes):
        turns = [device.turn(subject, Load(threads=threads)) for _ in range(TURNS)]
        same = compared_with_itself(subject.folder, threads)
    listed = []
    for turn in turns:
        kept, steady = turn_without_samples(turn), _looks_steady(turn.samples_us)
        listed.append(TimedTurn(turn=kept, verdict=judge([turn], threads)[0], steady=steady))
    verdict, why = judge(turns, threads)
    return Situation(busy=processes, threads=threads, turns=tuple(listed), verdict=verdict, why=why, same=same)


def _looks_steady(samples: tuple[int, ...]) -> bool:
    """Judged from within the process alone: halves within 10 %, nine of ten calls within 1.25 times the median."""
    middle = len(samples) // 2
    ordered = sorted(samples)
    median = ordered[middle]
    first, second = sorted(samples[:middle]), sorted(samples[middle:])
    drift = abs(first[len(first) // 2] - second[len(second) // 2])
    return drift <= 0.1 * median and ordered[len(ordered) * 9 // 10] <= 1.25 * median


def compared_with_itself(folder: Path, threads: int) -> Speedup:
    """A over A, five passes as by default."""
    with tempfile.TemporaryDirectory() as scratch:
        copies = [Path(shutil.copytree(folder, Path(scratch) / name)) for name in ("one", "other")]
        plan = Plan(passes=5, threads=(threads,), baseline="one")
        _, other = bench(artifact_rows(copies), plan).rows
    assert other.speedup is not None
    return other.speedup


def main() -> None:
    """Measure and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    folder = parser.parse_args().artifact
    manifest = Manifest.load(folder)
    subject = Subject(folder, manifest)
    situations = []
    with LocalDevice() as device:
        info = device.open()
        for threads in THREADS:
            for processes in range(usable_cores() + 1):
                situations.append(situation(device, subject, processes, threads))
    ContentionStudy(
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        artifact=f"{manifest.key} at {manifest.image_size} px",
        machine=machine(),
        versions=info.versions,
        situations=tuple(situations),
    ).save(RESULTS)


if __name__ == "__main__":
    main()
