"""Exports of a run whose images have moved, or are not to be had at all."""

import json
import random
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlkdc import distill, export
from mlkdc.commands.describe import artifact_lines
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.exporting import ExportOptions, export_several, identity
from mlkdc.recipe import load_recipe
from mlkdc.records.answers import KnownAnswers, load_calibration, save_calibration
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


def without(run: Run, copy: Path, *files: str) -> Run:
    """A copy of the run folder that lacks some files."""
    shutil.copytree(run.path, copy, ignore=shutil.ignore_patterns(*files, "export"))
    return load_run(copy)


def test_a_run_folder_alone_is_exported_on_what_it_keeps(trained: tuple[Run, Path], tmp_path: Path) -> None:
    run, now = trained
    alone, lines = without(run, tmp_path / "copied"), []
    for precision in ("fp32", "int8"):
        with suppress(MlkdcError):  # a model trained for one epoch may lose too much in int8
            export(alone, "onnx", precision=precision, say=lines.append)
    manifest = Manifest.load(alone.path / "export" / "onnx-fp32")
    comparison = manifest.parity.comparison
    assert comparison is not None
    assert (manifest.status, comparison.split, comparison.images, comparison.kept) == ("ok", "val", 6, True)
    assert "parity on 6 images kept in the run folder" in "\n".join(artifact_lines(manifest))
    quantization = Manifest.load(alone.path / "export" / "onnx-int8").quantization
    assert quantization is not None
    assert (quantization.calibration.images, quantization.calibration.kept) == (6, True)
    text = (alone.path / "export" / "onnx-int8" / "README.md").read_text(encoding="utf-8")
    keeps = "that the run folder keeps, as the data was not there"
    assert f"| compared on | 6 images of the val split {keeps}; by onnxruntime |" in text
    assert f"| calibrated on | 6 images of the train split {keeps} |" in text
    assert any(f"{run.recipe.data.path}, the run's data, is not there" in line for line in lines)
    assert any("int8: calibrated on the 6 images that" in line for line in lines)
    # They are images of the data, those to calibrate on from the training split.
    pixels = {(np.asarray(Image.open(now / f"{at}.png").resize((32, 32), 2)).tobytes()) for at in range(0, 18, 3)}
    assert {row.transpose(1, 2, 0).tobytes() for row in load_calibration(run.path)} == pixels


def test_a_folder_that_keeps_nothing_needs_the_data(trained: tuple[Run, Path], tmp_path: Path) -> None:
    alone = without(trained[0], tmp_path / "bare", "parity.npz")
    with pytest.raises(UsageError, match="if it has moved, say where it is: --data PATH"):
        export(alone, "onnx")
    uncalibrated = without(trained[0], tmp_path / "uncalibrated", "calibration.npz")
    lines: list[str] = []
    with pytest.raises(UsageError, match=r"no images to calibrate int8 on \(no calibration\.npz\)"):
        export(uncalibrated, "onnx", precision="int8", say=lines.append)
    assert lines == []  # said before anything is done


def test_an_empty_folder_is_data_that_is_not_there(trained: tuple[Run, Path], tmp_path: Path) -> None:
    """As where a disk is not mounted."""
    alone, lines = without(trained[0], tmp_path / "copied"), []
    Path(alone.recipe.data.path).mkdir()
    try:
        export(alone, "onnx", say=lines.append)
    finally:
        Path(alone.recipe.data.path).rmdir()
    assert any("the run's data, is not there" in line for line in lines)


@pytest.mark.parametrize(
    ("shape", "said"), [((0, 3, 32, 32), "holds no image"), ((4, 3, 64, 64), "expected images of 32 px")]
)
def test_kept_images_that_the_model_cannot_take_are_refused(
    shape: tuple[int, ...], said: str, trained: tuple[Run, Path], tmp_path: Path
) -> None:
    alone = without(trained[0], tmp_path / "other")
    save_calibration(alone.path, np.zeros(shape, dtype=np.uint8))
    with pytest.raises(UsageError, match=rf"calibration\.npz:? {said}.*copy the complete run folder again"):
        export(alone, "onnx", precision="int8")


def test_kept_answers_of_another_model_are_refused(trained: tuple[Run, Path], tmp_path: Path) -> None:
    alone = without(trained[0], tmp_path / "other")
    known = KnownAnswers.load(alone.path)
    KnownAnswers(known.pixels, 1 - known.probabilities, known.targets).save(alone.path)
    with pytest.raises(UsageError, match="does not give the answers in"):
        export(alone, "onnx")


@pytest.mark.parametrize("moved", [True, False])
def test_class_names_in_another_order_than_scored_are_refused(
    moved: bool, trained: tuple[Run, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data takes its order from the same file, and of a large split only some images are answered."""
    monkeypatch.setattr(identity, "MOST_IMAGES", 1)
    alone = without(trained[0], tmp_path / "reversed")
    names = alone.classes
    (alone.path / "classes.txt").write_text("\n".join(names[::-1]) + "\n")
    alone, expected = load_run(alone.path), f'expected "{names[0]}" in line 1, got "{names[-1]}"'
    with pytest.raises(UsageError, match=expected):
        export(alone, "onnx", data=str(trained[1]) if moved else None)
    (alone.path / "classes.txt").write_text("\n".join(names[:-1]) + "\n")
    with pytest.raises(UsageError, match=f'expected "{names[-1]}" in line 3, got nothing'):
        list(export_several(load_run(alone.path), [ExportOptions(target="onnx"), ExportOptions(target="onnx")], print))
    assert alone.artifacts() == []


def test_moved_data_is_compared_in_its_new_place(trained: tuple[Run, Path], tmp_path: Path) -> None:
    run, now = trained
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
