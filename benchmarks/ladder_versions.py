"""What an int8 ladder took in an earlier version: the same command with both, in turns, to the ladder's end.

    OMP_NUM_THREADS=1 python benchmarks/ladder_versions.py RUN EARLIER EARLIER_RUN --data PHOTOS --weights WEIGHTS

EARLIER is a checkout. Each version exports a run of its own, trained by the same command, with limits that no step
holds: all of the command is timed, and the ladder in it. Minutes a turn and target; the seconds go to
benchmarks/results/ladder_versions.json.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ladder_records import LadderSeconds, VersionRow, VersionsStudy, VersionTurn
from promise import PACKAGES, TARGETS
from study import add_places, grow, placed

from mlkdc.records.run import load_run
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions

HERE = Path(__file__).parent
RESULTS = HERE / "results" / VersionsStudy.FILE
EXPORT = ("--precision", "int8", "--max-drop", "0.0001", "--max-class-drop", "0.001")


def seconds(checkout: Path, run: Path, target: str) -> LadderSeconds:
    """In the version of that checkout."""
    with tempfile.TemporaryDirectory() as out:
        ladder = Path(out) / "seconds"
        command = [sys.executable, str(HERE / "ladder_timed.py"), str(ladder), "export", str(run.resolve())]
        command += ["--target", target, *EXPORT]
        start = time.perf_counter()
        done = subprocess.run(
            [*command, "--out", f"{out}/artifact"],
            env={**os.environ, "PYTHONPATH": str(checkout.resolve())},
            cwd=out,
            capture_output=True,
            text=True,
        )
        took = time.perf_counter() - start
        # No step holds such limits: an export that says otherwise, or ends for another reason, was no full ladder.
        if done.returncode != 1 or "mAP" not in done.stdout + done.stderr:
            raise SystemExit(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return LadderSeconds(command=took, ladder=float(ladder.read_text(encoding="utf-8")))


def main() -> None:
    """Measure both and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("earlier_checkout", type=Path)
    parser.add_argument("earlier_run", type=Path)
    parser.add_argument("--targets", nargs="*", default=TARGETS)
    parser.add_argument("--turns", type=int, default=3)
    add_places(parser)
    options = parser.parse_args()
    git = ["git", "-C", str(options.earlier_checkout), "rev-parse", "--short", "HEAD"]
    run = load_run(options.run)
    study = VersionsStudy(
        training=placed(run.results.command, options),
        export=shlex.join(["mlkdc", "export", "RUN", "--target", "TARGET", *EXPORT]),
        earlier=subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip(),
        versions=versions(PACKAGES),
        machine=machine(),
    )

    def turn(target: str) -> VersionTurn:
        earlier = seconds(options.earlier_checkout, options.earlier_run, target)
        return VersionTurn(earlier=earlier, now=seconds(HERE.parent, options.run, target))

    def measured(target: str) -> VersionRow:
        return VersionRow(target=target, turns=tuple(turn(target) for _ in range(options.turns)))

    grow(RESULTS, study, map(measured, options.targets))


if __name__ == "__main__":
    main()
