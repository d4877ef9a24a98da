"""Run folders, written as the training, the export and the benchmark write them.

Files of ``files/`` are raw JSON, independent of the records: ``format1`` is what an older version wrote, ``format2``
was typed key by key.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from report_artifacts import bench, manifest
from report_training import history, results

from mlkdc.recipe import Recipe, Teacher
from mlkdc.records.manifest import Manifest
from mlkdc.records.results import Epoch, Results

FILES = Path(__file__).parent / "files"


def write_minimal(folder: Path, values: Results | None = None) -> Path:
    """A run without a teacher that was trained and nothing else."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(Recipe(name="plain").to_yaml(), encoding="utf-8")
    values = values or results().model_copy(update={"teacher": None, "method": "vanilla"})
    values.save(folder)
    write_epochs(folder, history())
    return folder


def write_full(folder: Path, count: int = 20) -> Path:
    """A run with a teacher, three artifacts (one out of tolerance) and a benchmark."""
    values = results(count)
    write_minimal(folder, values)
    recipe = Recipe(name="l2d-mobilenet", teacher=Teacher(model="resnet101"))
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    names = [score.name for score in values.per_class]
    for name, drop, passed in (("onnx-fp32", 0, True), ("onnx-fp16", 0.04, True), ("onnx-int8", 3.1, False)):
        write_manifest(folder, name, manifest(name, names, drop, passed))
    bench().save(folder)
    return folder


def copy_raw(folder: Path, name: str) -> Path:
    """A run folder of raw files: ``format1`` or ``format2``."""
    shutil.copytree(FILES / name, folder)
    return folder


def write_manifest(folder: Path, name: str, value: Manifest) -> None:
    """The manifest of the artifact with that folder name."""
    artifact = folder / "export" / name
    artifact.mkdir(parents=True, exist_ok=True)
    value.save(artifact)


def write_epochs(folder: Path, entries: Sequence[Epoch]) -> None:
    """metrics.jsonl."""
    (folder / "metrics.jsonl").write_text("".join(entry.line() for entry in entries), encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Any JSON, right or wrong."""
    path.write_text(json.dumps(value), encoding="utf-8")


def read_json(path: Path) -> Any:
    """What a file holds, as it is."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_recipe(folder: Path) -> Any:
    """The resolved recipe, as it is."""
    return yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
