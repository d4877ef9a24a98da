"""What the studies share: a JSON that grows row by row, and trainings by the command a user would type."""

import argparse
import fcntl
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
from study_records import RowsStudy

from mlkdc.records.base import Record
from mlkdc.records.run import Run

Study = TypeVar("Study", bound=RowsStudy)


def stored(path: Path, kind: type[Study]) -> Study:
    """The study so far."""
    if not path.is_file():
        return kind()
    return kind.load_from(path)


def add(path: Path, row: Record, kind: type[RowsStudy]) -> None:
    """Add a row to what the file holds at that moment: another process may have added others."""
    with Path(tempfile.gettempdir(), f"mlkdc-{path.stem}.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kind(rows=(*stored(path, kind).rows, row)).save_as(path)


def grow(path: Path, study: RowsStudy, rows: Iterable[Record], shown: Callable[[Any], object] = str) -> None:
    """Write the study anew after every row, so that one that is stopped leaves what it has measured."""
    for row in rows:
        study = study.model_copy(update={"rows": (*study.rows, row)})
        study.save_as(path)
        print(shown(row), flush=True)


def in_turns(ways: Mapping[str, Callable[[], float]], passes: int, baseline: str) -> dict[str, tuple[float, float]]:
    """The median time of each way, and the median over the passes of its ratio to the baseline's.

    In every pass each is timed once, so that what else the machine does meets all of them.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(passes):
        for name, timed in ways.items():
            times[name].append(timed())
    found = {}
    for name, own in times.items():
        found[name] = median(own), median(np.divide(own, times[baseline]).tolist())
    return found


def call(command: list[str]) -> None:
    """Run an `mlkdc` command with this interpreter's installation."""
    print(shlex.join(command), flush=True)
    subprocess.run([str(Path(sys.executable).parent / command[0]), *command[1:]], check=True)


def train(command: list[str], folder: Path) -> Run:
    """Run a training, or resume it.

    Args:
        command: `mlkdc distill ...` with ``--out``.
        folder: the run folder that it names.
    """
    run = Run(folder)
    if run.exists:
        command = ["mlkdc", "distill", "--resume", str(folder)]
    call(command)
    return run


def set_options(settings: list[str]) -> list[str]:
    """Recipe values as options of a command."""
    options = []
    for setting in settings:
        options += ["--set", setting]
    return options


def with_placeholders(text: str, placeholders: Mapping[str, str]) -> str:
    """The text with a word for each path of this machine."""
    for path, word in placeholders.items():
        text = text.replace(path, word)
    return text


#: How the commands below say where data and weights are.
PLACES = "--data PHOTOS --weights WEIGHTS"


def add_places(parser: argparse.ArgumentParser) -> None:
    """Options for the folders of this machine that a training's command names."""
    parser.add_argument("--data", required=True, help="the folder that was trained on, called PHOTOS in the file")
    parser.add_argument("--weights", required=True, help="the folder of ImageNet weights, called WEIGHTS in the file")


def placed(command: str, options: argparse.Namespace) -> str:
    """The command that trained the run, for any machine."""
    words = shlex.split(command)
    words[words.index("--out") + 1] = "RUN"
    return with_placeholders(shlex.join(words), {options.data: "PHOTOS", options.weights: "WEIGHTS"})
