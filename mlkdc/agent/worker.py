"""One measurement in a process of its own: the program that the agent starts for each turn.

    predict FOLDER IMAGES.npy OUT.npy [--threads N] [--batch N]      uint8 [n, 3, s, s] -> float32 [n, q]
    time FOLDER --threads N [--runs N] [--seconds S] [--cool-to C]    one JSON line: a Turn record
    photos FOLDER FILE... --threads N --fit FIT                       one JSON line: a PhotoTiming record

FOLDER holds the model files and spec.json. An error is one line on stderr and exit code 2 (wrong input) or 1.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from mlkdc.agent.install import run_there
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.runtime.conditions import Conditions, Watch, cool_down, peak_mib
from mlkdc.runtime.model import BATCH, Model, load_backend
from mlkdc.runtime.spec import ModelSpec
from mlkdc.runtime.timing import Timed, measure

SPEC_FILE = "spec.json"


def main(argv: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(argv)
    try:
        if options.command == "predict":
            _predict(options)
        else:
            measured = {"time": _time, "photos": _photos}[options.command]
            sys.stdout.write(measured(options) + "\n")
    except MlkdcError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    predict = commands.add_parser("predict")
    timing = commands.add_parser("time")
    photos = commands.add_parser("photos")
    for command in (predict, timing, photos):
        command.add_argument("folder", type=Path)
    predict.add_argument("images", type=Path)
    predict.add_argument("out", type=Path)
    predict.add_argument("--threads", type=int)
    predict.add_argument("--batch", type=int, default=BATCH)
    add_load_options(timing)
    photos.add_argument("files", type=Path, nargs="+")
    photos.add_argument("--threads", type=int, required=True)
    photos.add_argument("--fit", required=True)
    return parser


def add_load_options(parser: argparse.ArgumentParser) -> None:
    """The options of a program that times something."""
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--cool-to", type=float)


def _opened(folder: Path, threads: int | None) -> Model:
    spec = ModelSpec.from_json((folder / SPEC_FILE).read_text(encoding="utf-8"))
    return Model(spec, load_backend(folder, spec, threads))


def _predict(options: argparse.Namespace) -> None:
    try:
        pixels = np.load(options.images, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"{options.images}: expected a .npy array of images ({error})") from None
    with _opened(options.folder, options.threads) as model:
        model.check_metadata(options.folder)
        probabilities = model.predict(pixels, options.batch)
    with options.out.open("wb") as stream:
        np.save(stream, probabilities)


def _time(options: argparse.Namespace) -> str:
    cooled_seconds = cool_down(options.cool_to)
    start = time.perf_counter()
    with _opened(options.folder, options.threads) as model:
        load_ms = (time.perf_counter() - start) * 1000
        image = model.random_input()
        watch = Watch(options.threads, cooled_seconds)
        timed = measure(lambda: model.run(image), runs=options.runs, seconds=options.seconds)
        conditions = watch.read()
        if not model.on_processor:
            # It waits for the Neural Engine or a GPU, which is no neighbor's doing.
            conditions = replace(conditions, cpu_fraction=None)
        turn = turn_json(timed, load_ms, conditions)
        # Last, so that it is part of no figure.
        model.check_metadata(options.folder)
        return turn


def _photos(options: argparse.Namespace) -> str:
    try:
        from mlkdc.runtime.photos import time_photos
    except ImportError:
        raise UsageError(f"photos are decoded with Pillow; {run_there('pillow')}") from None
    with _opened(options.folder, options.threads) as model:
        return json.dumps(asdict(time_photos(model, options.files, options.fit)))


def turn_json(timed: Timed, load_ms: float, conditions: Conditions) -> str:
    """A :class:`mlkdc.records.bench.Turn` as one line of JSON."""
    turn = {**asdict(timed), "load_ms": load_ms, "peak_mib": peak_mib(), "conditions": asdict(conditions)}
    return json.dumps(turn)
