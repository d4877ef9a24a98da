"""Run folders: made, found again, and loaded with nothing else at hand."""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mlkdc.data import open_data
from mlkdc.errors import UsageError
from mlkdc.models import MultiLabelModel, build_model, load_state
from mlkdc.recipe import Recipe, make_recipe
from mlkdc.resources import write_atomic
from mlkdc.types import TaggedImages

WEIGHTS = "model.safetensors"
CHECKPOINT = "checkpoint.pt"
METRICS = "metrics.jsonl"
RESULTS = "results.json"


@dataclass(frozen=True)
class Run:
    """A run folder and what is in it."""

    path: Path

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe it was trained with."""
        source = self.path / "recipe.yaml"
        return make_recipe(yaml.safe_load(source.read_text()), str(source))

    @cached_property
    def classes(self) -> list[str]:
        """Label names in the order of the model's outputs."""
        return (self.path / "classes.txt").read_text().splitlines()

    @property
    def command(self) -> str:
        """The command that began it."""
        return (self.path / "command.txt").read_text().strip()

    @property
    def finished(self) -> bool:
        """Whether training came to its end and was scored."""
        return (self.path / RESULTS).is_file() and (self.path / WEIGHTS).is_file()

    @property
    def results(self) -> dict[str, Any]:
        """What results.json holds."""
        value: dict[str, Any] = json.loads((self.path / RESULTS).read_text())
        return value

    def model(self) -> MultiLabelModel:
        """The trained model in eval mode, on the CPU."""
        spec = self.recipe.student.model_copy(update={"weights": "none"})
        model = build_model(spec, len(self.classes), self.recipe.data.image_size)
        load_state(model, self.path / WEIGHTS, what=str(self.path / WEIGHTS))
        return model.eval()

    def data(self, path: str | None = None) -> TaggedImages:
        """The run's own data, or other data whose labels must be the same.

        Raises:
            UsageError: the data is gone, or its labels are not the model's.
        """
        if path is None:
            skipped = set(self.results["data"]["skipped"]) if self.finished else set()
            data = read_data(self.recipe)
            data = replace(data, samples=tuple(item for item in data.samples if str(item.image) not in skipped))
        else:
            data = open_data(path, digits_images=self.recipe.data.digits_images, split=False)
        check_labels(data, self.classes, f"the model in {self.path}")
        return data


def read_data(recipe: Recipe) -> TaggedImages:
    """The data a recipe names. How it is split, and the embedded data, do not depend on the run's seed."""
    return open_data(recipe.data.path, layout=recipe.data.layout, seed=0, digits_images=recipe.data.digits_images)


def check_labels(data: TaggedImages, classes: list[str], what: str) -> None:
    """Raise UsageError unless ``data`` has exactly these labels in this order."""
    found = list(data.classes)
    if found == classes:
        return
    extra, missing = sorted(set(found) - set(classes)), sorted(set(classes) - set(found))
    if extra or missing:
        listed = [
            f"{len(names)} {word} ({', '.join(names[:4])}{', ...' if len(names) > 4 else ''})"
            for word, names in (("only in the data", extra), ("only in the model", missing))
            if names
        ]
        raise UsageError(
            f"{what} knows {len(classes)} labels, {data.root} has {len(found)}: {'; '.join(listed)}. "
            "Use data with the same labels, or train on this data"
        )
    raise UsageError(f"{what} and {data.root} have the same labels in another order; add a classes.txt to the data")


def load_run(path: Path | str) -> Run:
    """A finished run.

    Raises:
        UsageError: not a run folder, or its training has not ended (says how to go on).
    """
    run = Run(Path(path))
    if not (run.path / "recipe.yaml").is_file():
        raise UsageError(f"{path} is not a run folder (no recipe.yaml in it); `mlkdc distill` makes one")
    if not run.finished:
        raise UsageError(f"the training in {path} has not ended; go on with `mlkdc distill --resume {path}`")
    return run


def newest_run(root: Path = Path("runs"), *, finished: bool = True) -> Run:
    """The run folder below ``root`` that was written to last; teachers are passed over.

    Raises:
        UsageError: there is none.
    """
    found = [Run(path.parent) for path in root.glob("*/recipe.yaml") if not path.parent.name.startswith("teacher-")]
    found = [run for run in found if run.finished or not finished]
    if not found:
        raise UsageError(f"no run folder given and none in {root}/; train one with `mlkdc distill --recipe quickstart`")
    return max(found, key=lambda run: max(item.stat().st_mtime for item in run.path.iterdir()))


def new_run_folder(out: Path | None, name: str, root: Path = Path("runs")) -> Path:
    """The folder for a new run: ``out``, which must be empty or absent, or a fresh numbered one below ``root``.

    Raises:
        UsageError: ``out`` holds something; the message gives both ways on.
    """
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise UsageError(
                f"{out} is not empty; go on with what it holds: `mlkdc distill --resume {out}`, "
                "or start anew elsewhere: `--out ANOTHER`"
            )
        return out
    stem = name.replace("/", "-")
    taken = {path.name for path in root.glob("*")} if root.is_dir() else set()
    number = 1
    while (candidate := stem if number == 1 else f"{stem}-{number}") in taken:
        number += 1
    return root / candidate


def start_run(folder: Path, recipe: Recipe, classes: tuple[str, ...], command: str) -> Run:
    """Make the folder and write what a later command needs to load the run again.

    ``command`` is the one that began the run; a resuming one does not replace it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "command.txt").is_file():
        write_atomic(folder / "command.txt", lambda temporary: temporary.write_text(command + "\n"))
    write_atomic(folder / "classes.txt", lambda temporary: temporary.write_text("\n".join(classes) + "\n"))
    write_atomic(folder / "recipe.yaml", lambda temporary: temporary.write_text(recipe.to_yaml()))
    return Run(folder)


def log_line(folder: Path, text: str) -> None:
    """Append one dated line to the run's log."""
    with (folder / "log.txt").open("a") as log:
        log.write(f"{datetime.now().isoformat(timespec='seconds')} {text}\n")
