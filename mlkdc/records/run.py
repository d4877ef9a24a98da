"""Run folders: where their files are, and how a later command finds one."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.recipe import Recipe, make_recipe, read_yaml
from mlkdc.records.base import read_run_text
from mlkdc.records.bench import BenchFile
from mlkdc.records.images import ImageList
from mlkdc.records.manifest import CLASSES_FILE as CLASSES_FILE
from mlkdc.records.manifest import EXPORT_FOLDER as EXPORT_FOLDER
from mlkdc.records.manifest import Manifest, read_classes
from mlkdc.records.owner import Owner
from mlkdc.records.results import METRICS_FILE, Epoch, Results, read_epochs
from mlkdc.resources import TEMPORARY, write_text

RECIPE_FILE = "recipe.yaml"
COMMAND_FILE = "command.txt"
LOG_FILE = "log.txt"
WEIGHTS_FILE = "model.safetensors"
CHECKPOINT_FILE = "checkpoint.pt"
# Of mlkdc.records.answers, which needs NumPy.
ANSWERS_FILE = "parity.npz"
CALIBRATION_FILE = "calibration.npz"
#: Locked while a training writes the folder; stays there, empty.
LOCK_FILE = ".lock"
#: Where new run folders are made, and looked for.
RUNS = Path("runs")


@dataclass(frozen=True)
class Run:
    """A run folder and what is in it. Every part is read when it is first asked for."""

    path: Path

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe it was trained with."""
        source = self.path / RECIPE_FILE
        return make_recipe(read_yaml(source), str(source))

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Label names in the order of the model's outputs."""
        return read_classes(self.path / CLASSES_FILE)

    @property
    def command(self) -> str:
        """The command that began it."""
        return read_run_text(self.path / COMMAND_FILE).strip()

    @property
    def exists(self) -> bool:
        """Whether the folder is a run folder at all, finished or not."""
        return (self.path / RECIPE_FILE).is_file()

    @property
    def finished(self) -> bool:
        """Whether training came to its end and was scored."""
        return (self.path / Results.FILE).is_file() and self.weights.is_file()

    @property
    def weights(self) -> Path:
        """The trained model's file."""
        return self.path / WEIGHTS_FILE

    @property
    def checkpoint(self) -> Path:
        """The file from which a stopped training is resumed."""
        return self.path / CHECKPOINT_FILE

    @property
    def results(self) -> Results:
        """What results.json holds."""
        return Results.load(self.path)

    @property
    def epochs(self) -> list[Epoch]:
        """What metrics.jsonl holds; empty where it is missing."""
        return read_epochs(self.path)

    @property
    def bench(self) -> BenchFile | None:
        """What bench.json holds; None where nothing was timed."""
        return BenchFile.load(self.path) if (self.path / BenchFile.FILE).is_file() else None

    def artifacts(self) -> list[Path]:
        """The exported artifact folders, by name."""
        return sorted(path.parent for path in (self.path / EXPORT_FOLDER).glob(f"*/{Manifest.FILE}"))

    def newest_artifact(self, say: Callable[[str], None]) -> Path:
        """The artifact that was written last, of those that passed their parity check; else of the unverified.

        ``say`` hears of those that cannot be read, which are passed over.

        Raises:
            UsageError: there is none.
        """
        by_status: dict[str, list[Path]] = {"ok": [], "unverified": [], "failed": []}
        for folder in self.artifacts():
            try:
                status = Manifest.load(folder).status
            except MlkdcError as error:
                say(f"passed over: {error}")
                continue
            by_status[status].append(folder)
        usable = by_status["ok"] or by_status["unverified"]
        if not usable:
            raise UsageError(
                f"{self.path} has no exported model that passed its check; make one with "
                f"`mlkdc export {self.path} --target onnx`"
            )
        return max(usable, key=lambda folder: (folder / Manifest.FILE).stat().st_mtime)

    def log(self, text: str) -> None:
        """Append one dated line to the run's log."""
        with (self.path / LOG_FILE).open("a", encoding="utf-8", errors="backslashreplace") as log:
            log.write(f"{datetime.now().isoformat(timespec='seconds')} {text}\n")

    def start(self, recipe: Recipe, classes: tuple[str, ...], command: str) -> None:
        """Make the folder and write what a later command needs to load the run again.

        ``command`` is the one that began the run; a resuming one does not replace it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / COMMAND_FILE).is_file():
            write_text(self.path / COMMAND_FILE, command + "\n")
        write_text(self.path / CLASSES_FILE, "\n".join(classes) + "\n")
        write_text(self.path / RECIPE_FILE, recipe.to_yaml())


def load_run(path: Path | str) -> Run:
    """A finished run.

    Raises:
        UsageError: not a run folder, or its training has not ended (says how to resume it).

    Example:
        >>> from mlkdc import load_run
        >>> run = load_run("runs/photos")
        >>> run.classes, run.results.model.model
        (('red', 'green', 'blue'), 'mobilenetv2')
        >>> [artifact.name for artifact in run.artifacts()]
        ['onnx-fp32']
    """
    run = Run(Path(path))
    if not run.exists:
        raise UsageError(_no_run(run.path))
    if not run.finished:
        raise UsageError(f"the training in {path} has not ended; resume it with `mlkdc distill --resume {path}`")
    return run


def _no_run(path: Path) -> str:
    """What a path is that is not a run folder."""
    if not path.exists():
        return f"{path} is not a run folder: there is no such folder; `mlkdc distill` makes one"
    if (path / Manifest.FILE).is_file():
        return f"{path} is not a run folder, but an exported artifact; give the run that it was exported from"
    missing = f"no {RECIPE_FILE} in it"
    if path.parent.name == EXPORT_FOLDER and Run(path.parent.parent).exists:
        return (
            f"{path} is not a run folder ({missing}), and no artifact any more, as its {Manifest.FILE} is missing; "
            f"copy the complete folder, or export {path.parent.parent} again"
        )
    return f"{path} is not a run folder ({missing}) and no artifact (no {Manifest.FILE}); `mlkdc distill` makes a run"


def newest_run(root: Path = RUNS) -> Run:
    """The finished run folder below ``root`` that was written to last; teachers are passed over.

    Raises:
        UsageError: there is none.
    """
    finished = []
    for recipe in root.glob(f"*/{RECIPE_FILE}"):
        run = Run(recipe.parent)
        if run.finished and not run.path.name.startswith("teacher-"):
            finished.append(run)
    if not finished:
        raise UsageError(f"no run folder given and none in {root}/; train one with `mlkdc distill --recipe quickstart`")
    return max(finished, key=lambda run: max(item.stat().st_mtime for item in run.path.iterdir()))


def new_run_folder(out: Path | None, name: str, root: Path = RUNS) -> Path:
    """Make the folder for a new run: ``out``, which must be empty or absent, or a fresh numbered one below ``root``.

    Raises:
        UsageError: ``out`` holds something; the message gives both ways on.
        MlkdcError: it cannot be made.
    """
    try:
        if out is None:
            return _fresh_folder(root, name.replace("/", "-"))
        if out.exists() and (not out.is_dir() or not is_unused(out)):
            ways = "start in another folder: `--out ANOTHER`"
            if Run(out).exists:
                ways = f"resume what it holds with `mlkdc distill --resume {out}`, or {ways}"
            raise UsageError(f"{out} is not empty; {ways}")
        out.mkdir(parents=True, exist_ok=True)
        return out
    except OSError as error:
        raise MlkdcError(
            f"the run folder {error.filename} cannot be made ({error.strerror}); name another with --out"
        ) from error


def _fresh_folder(root: Path, stem: str) -> Path:
    candidate, number = root / stem, 1
    root.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            # Chosen and made in one step: of two runs that begin at once, one gets the next number.
            candidate.mkdir()
            return candidate
        except FileExistsError:
            number += 1
            candidate = root / f"{stem}-{number}"


#: What a training writes before there is a recipe, with which it can be resumed.
_BEGUN = (Owner.FILE, ImageList.FILE, COMMAND_FILE, CLASSES_FILE, RECIPE_FILE)
#: What it writes later, as a whole each.
_WRITTEN = (CHECKPOINT_FILE, WEIGHTS_FILE, ANSWERS_FILE, CALIBRATION_FILE, METRICS_FILE, Results.FILE)


def temporaries(folder: Path) -> list[Path]:
    """Files that a training that was killed had not completed; of a folder that no other process trains in."""
    names = "|".join(map(re.escape, (*_BEGUN, *_WRITTEN)))
    pattern = re.compile(rf"\.({names})\.{TEMPORARY}")
    return [item for item in folder.iterdir() if pattern.fullmatch(item.name)]


def is_unused(folder: Path) -> bool:
    """Whether a folder holds nothing but the lock of a run that wrote nothing that could be resumed."""
    names = {item.name for item in folder.iterdir()} - {item.name for item in temporaries(folder)}
    if names <= {LOCK_FILE, Owner.FILE}:
        return True
    # The list of images is the first file; a classes.txt alone is someone's.
    return {LOCK_FILE, ImageList.FILE} <= names <= {LOCK_FILE, *_BEGUN} - {RECIPE_FILE}


def clear_unused(folder: Path) -> None:
    """Remove what a killed training has left in a folder that this process has locked."""
    stale = temporaries(folder)
    if is_unused(folder):
        stale += [folder / name for name in _BEGUN if name != Owner.FILE]
    for file in stale:
        file.unlink(missing_ok=True)
