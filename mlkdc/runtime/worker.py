"""``python -m mlkdc.runtime.worker``: predict with or time one artifact in a separate process.

    predict ARTIFACT IMAGES.npy OUT.npy [--threads N] [--batch N]    uint8 or float32 [n, 3, s, s] -> float32 [n, q]
    time ARTIFACT [--runs N] [--threads N]                           one JSON line: a Timing record

A fault is one line on stderr and exit code 2 (wrong input) or 1 (the job failed).
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.bench import Timing
from mlkdc.resources import write_atomic
from mlkdc.runtime.session import BATCH, open_artifact
from mlkdc.runtime.timing import measure


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mlkdc.runtime.worker",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    predict = commands.add_parser("predict")
    timing = commands.add_parser("time")
    for command in (predict, timing):
        command.add_argument("artifact", type=Path)
        command.add_argument("--threads", type=int)
    predict.add_argument("images", type=Path)
    predict.add_argument("out", type=Path)
    predict.add_argument("--batch", type=int, default=BATCH)
    timing.add_argument("--runs", type=int, default=200)
    return parser


def _predict(artifact: Path, images: Path, out: Path, threads: int | None, batch: int) -> None:
    try:
        pixels = np.load(images, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{images}: expected a .npy array of images ({error})") from None
    with open_artifact(artifact, threads=threads) as session:
        probabilities = session.predict(pixels, batch)

    def save(path: Path) -> None:
        with path.open("wb") as stream:
            np.save(stream, probabilities)

    write_atomic(out, save)


def _time(artifact: Path, runs: int, threads: int | None) -> Timing:
    with open_artifact(artifact, threads=threads) as session:
        image = session.random_input()
        return measure(lambda: session.run(image), runs=runs)


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(argv)
    try:
        if options.command == "predict":
            _predict(options.artifact, options.images, options.out, options.threads, options.batch)
        else:
            timing = _time(options.artifact, options.runs, options.threads)
            sys.stdout.write(timing.model_dump_json() + "\n")
    except MlkdcError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
