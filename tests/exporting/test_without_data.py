"""Exports of a run whose images have moved, or are not to be had at all."""

import json
import random
import shutil
from pathlib import Path

import pytest
from PIL import Image

from mlkdc import distill, export
from mlkdc.errors import UsageError
from mlkdc.exporting import ExportOptions, export_several
from mlkdc.recipe import load_recipe
from mlkdc.records.manifest import Manifest
from mlkdc.records.run import Run, load_run

CHANNELS = {"red": 0, "green": 1, "blue": 2}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    """A run, and where its data is now, which is not where it was."""
    home = tmp_path_factory.mktemp("moved")
    data = home / "data"
    data.mkdir()
    draws = random.Random(0)
    rows = ["image,labels,split"]
    for index in range(18):
        labels = [name for name in CHANNELS if draws.random() < 0.5] or ["red"]
        color = [0, 0, 0]
        for name in labels:
            color[CHANNELS[name]] = 100 + draws.randrange(150)
        Image.new("RGB", (40, 40), tuple(color)).save(data / f"{index}.png")
        rows.append(f"{index}.png,{'|'.join(labels)},{('train', 'val', 'test')[index % 3]}")
    (data / "labels.csv").write_text("\n".join(rows) + "\n")
    settings = ["data.image_size=32", "train.epochs=1", "train.batch_size=6", "distill.method=vanilla"]
    recipe = load_recipe("quickstart", settings, {"data": {"path": str(data)}})
    run = distill(recipe, out=home / "run")
    now = home / "elsewhere"
    shutil.move(data, now)
    return load_run(run.path), now


def test_moved_data_is_compared_in_its_new_place(trained: tuple[Run, Path], tmp_path: Path) -> None:
    run, now = trained
    with pytest.raises(UsageError, match="if it has moved, say where it is: --data PATH"):
        export(run, "onnx", out=tmp_path / "not")
    manifest = Manifest.load(export(run, "onnx", data=str(now), out=tmp_path / "here"))
    assert manifest.status == "ok"
    assert manifest.parity.comparison is not None
    assert (manifest.parity.comparison.split, manifest.parity.comparison.images) == ("val", 6)


def test_without_data_an_artifact_is_unverified_and_says_why(trained: tuple[Run, Path], tmp_path: Path) -> None:
    run, now = trained
    manifest = Manifest.load(export(run, "onnx", skip_parity=True, out=tmp_path / "unchecked"))
    assert (manifest.status, manifest.parity.passed, manifest.parity.comparison) == ("unverified", None, None)
    assert manifest.parity.reason == "not compared with the torch model: exported with --skip-parity"
    assert "--skip-parity" in (tmp_path / "unchecked" / "README.md").read_text(encoding="utf-8")
    # It is the same model as one that was compared.
    compared = Manifest.load(export(run, "onnx", data=str(now), out=tmp_path / "checked"))
    assert json.loads(manifest.model_dump_json())["files"] == json.loads(compared.model_dump_json())["files"]


def test_int8_needs_images_and_does_not_stop_the_others(trained: tuple[Run, Path]) -> None:
    run, _ = trained
    options = []
    for precision in ("fp32", "int8"):
        options.append(ExportOptions(target="onnx", precision=precision, skip_parity=True))
    outcomes = {choice.precision: outcome for choice, outcome in export_several(run, options, say=lambda text: None)}
    assert outcomes["fp32"] == run.path / "export" / "onnx-fp32"
    assert isinstance(outcomes["int8"], UsageError)
    assert "onnx-int8 is calibrated on the run's images" in str(outcomes["int8"])
    assert not (run.path / "export" / "onnx-int8").exists()
