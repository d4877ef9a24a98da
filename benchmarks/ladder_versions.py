"""What an int8 ladder took in an earlier version: the same command with both, in turns, to the ladder's end.

    OMP_NUM_THREADS=1 python benchmarks/ladder_versions.py RUN EARLIER EARLIER_RUN --data PHOTOS --weights WEIGHTS

EARLIER is a checkout. Each version exports a run of its own, trained by the same command, with limits that no step
holds. Minutes a target; the seconds go to benchmarks/results/ladder_versions.json.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ladder_records import VersionRow, VersionsStudy
from promise import PACKAGES, TARGETS
from study import grow, with_placeholders

from mlkdc.records.run import load_run
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions

HERE = Path(__file__).parent
RESULTS = HERE / "results" / VersionsStudy.FILE
EXPORT = ("--precision", "int8", "--max-drop", "0.0001", "--max-class-drop", "0.001")


def seconds(checkout: Path, run: Path, target: str) -> float:
    """Of the whole command, in the version of that checkout."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "mlkdc", "export", str(run.resolve()), "--target", target, *EXPORT]
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
    return took


def main() -> None:
    """Measure both and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("earlier_checkout", type=Path)
    parser.add_argument("earlier_run", type=Path)
    parser.add_argument("--targets", nargs="*", default=TARGETS)
    parser.add_argument("--data", required=True, help="the folder that was trained on, called PHOTOS in the file")
    parser.add_argument("--weights", required=True, help="the folder of ImageNet weights, called WEIGHTS in the file")
    options = parser.parse_args()
    git = ["git", "-C", str(options.earlier_checkout), "rev-parse", "--short", "HEAD"]
    run = load_run(options.run)
    places = {options.data: "PHOTOS", options.weights: "WEIGHTS", str(options.run): "RUN"}
    study = VersionsStudy(
        training=with_placeholders(run.results.command, places),
        export=shlex.join(["mlkdc", "export", "RUN", "--target", "TARGET", *EXPORT]),
        earlier=subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip(),
        versions=versions(PACKAGES),
        machine=machine(),
    )

    def measured(target: str) -> VersionRow:
        return VersionRow(
            target=target,
            earlier_seconds=seconds(options.earlier_checkout, options.earlier_run, target),
            seconds=seconds(HERE.parent, options.run, target),
        )

    grow(RESULTS, study, map(measured, options.targets))


if __name__ == "__main__":
    main()
