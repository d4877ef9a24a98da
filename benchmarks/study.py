"""What the studies share: a JSON that grows row by row, and training one row by the command a user would type."""

import fcntl
import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlkdc.losses import make_objective
from mlkdc.methods import load_method
from mlkdc.records.results import read_epochs
from mlkdc.resources import write_json
from mlkdc.train import Run


def stored(path: Path) -> dict[str, Any]:
    """The study so far."""
    study: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"format": 1, "rows": []}
    return study


def add(path: Path, row: dict[str, Any]) -> None:
    """Add a row to what the file holds now: another process may have added others."""
    with Path(tempfile.gettempdir(), f"mlkdc-{path.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        study = stored(path)
        write_json(path, {**study, "rows": [*study["rows"], row]})


def call(command: list[str]) -> None:
    """Run an `mlkdc` command with this interpreter's installation."""
    print(shlex.join(command), flush=True)
    subprocess.run([str(Path(sys.executable).parent / command[0]), *command[1:]], check=True)


def train(command: list[str], folder: Path, shown: dict[str, str]) -> dict[str, Any]:
    """Train one row, or go on with it.

    Args:
        command: `mlkdc distill ...` without ``--out``.
        folder: the run folder.
        shown: machine-specific paths and the words to show for them.
    """
    full = [*command, "--out", str(folder)]
    begun = (folder / "recipe.yaml").is_file()
    call(["mlkdc", "distill", "--resume", str(folder)] if begun else full)
    results = json.loads((folder / "results.json").read_text())
    text = shlex.join(full)
    for path, word in shown.items():
        text = text.replace(path, word)
    distill = Run(folder).recipe.distill
    return {
        "command": text,
        "seconds": results["seconds"],
        "terms": make_objective(distill).weights,
        "form": distill.form or load_method(distill.method).form,
        "scored_on": results["scored_on"],
        "metrics": results["metrics"],
        "mAP_by_epoch": [epoch.val_map_percent for epoch in read_epochs(folder)],
        "model": results["model"],
        "teacher": results["teacher"] and {**results["teacher"], "run": Path(results["teacher"]["run"]).name},
        "versions": results["versions"],
        "machine": results["machine"],
        "data": {key: results["data"][key] for key in ("name", "images", "classes", "split_from")},
    }
