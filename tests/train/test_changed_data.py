"""Data that changes between a run's start and what is done with the run: compared before anything is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from samples import make_manifest, write_photos
from tiny_training import tiny_recipe

from mlkdc.commands.evaluate import artifact_images, evaluate
from mlkdc.data.runs import run_data
from mlkdc.errors import Interrupted, UsageError
from mlkdc.recipe import Recipe
from mlkdc.records.images import ImageList
from mlkdc.records.run import Run
from mlkdc.train import distill, evaluate_run
from mlkdc.train.loop import Trainer

pytestmark = pytest.mark.slow

Edit = Callable[[list[str]], list[str]]


def plain(photos: Path) -> Recipe:
    return tiny_recipe(photos, distill={"method": "vanilla"}, teacher=None)


def stop_after_first_epoch(recipe: Recipe, out: Path) -> Path:
    after = Trainer._end_of_epoch

    def stop(self: Trainer, *rest: Any) -> None:
        after(self, *rest)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_end_of_epoch", stop)
        with pytest.raises(Interrupted):
            distill(recipe, out=out)
    return out


def without_split(photos: Path) -> Path:
    edit(photos, lambda lines: [line.rpartition(",")[0] for line in lines])
    return photos


def edit(photos: Path, change: Edit) -> None:
    table = photos / "labels.csv"
    lines = change(table.read_text(encoding="utf-8").splitlines())
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``photos`` without a split and classes.txt, a ``stopped`` run and a ``finished`` one on them."""
    home = tmp_path_factory.mktemp("home")
    photos = without_split(write_photos(home / "photos"))
    (photos / "classes.txt").unlink()
    stop_after_first_epoch(plain(photos), home / "stopped")
    distill(plain(photos), out=home / "finished")
    return home


@pytest.fixture
def place(home: Path, tmp_path: Path) -> Path:
    """A copy, whose runs know its own photos."""
    copy = shutil.copytree(home, tmp_path / "copy")
    for run in ("stopped", "finished"):
        for name in ("recipe.yaml", "images.jsonl"):
            path = copy / run / name
            path.write_text(path.read_text().replace(str(home), str(copy)))
    return copy


def content(folder: Path) -> dict[str, bytes]:
    return {item.name: item.read_bytes() for item in folder.iterdir() if item.is_file()}


def renamed(lines: list[str]) -> list[str]:
    return [line.replace("blue", "aqua") for line in lines]


def added_label(lines: list[str]) -> list[str]:
    return [lines[0], lines[1] + "|violet", *lines[2:]]


def removed_row(lines: list[str]) -> list[str]:
    return [lines[0], *lines[2:]]


def relabeled(lines: list[str]) -> list[str]:
    return [*lines[:2], lines[2].split(",")[0] + ",red|green|blue", *lines[3:]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (renamed, r"1 only in the data \(aqua\); 1 only in the model \(blue\)"),
        (added_label, r"has 3 labels, .* has 4: 1 only in the data \(violet\)"),
        (removed_row, r"has changed since .* began: 1 image missing \(images/000.png\)\. Restore"),
        (relabeled, r"has changed since .* began: 1 image with other labels \(images/001.png\)"),
    ],
)
def test_a_changed_table_stops_a_resume_before_anything_is_written(place: Path, change: Edit, said: str) -> None:
    edit(place / "photos", change)
    before = content(place / "stopped")
    with pytest.raises(UsageError, match=said):
        distill(None, resume=place / "stopped")
    # The lock's file may be there.
    after = content(place / "stopped")
    after.pop(".lock", None)
    before.pop(".lock", None)
    assert after == before


def test_a_changed_or_lost_file_stops_a_resume(place: Path) -> None:
    images = place / "photos" / "images"
    (images / "004.png").unlink()
    shutil.copy(images / "001.png", images / "002.png")
    with (images / "003.png").open("ab") as file:
        file.write(b"more")
    with pytest.raises(UsageError, match=r"1 image missing \(images/004.png\), . images? whose file has changed"):
        distill(None, resume=place / "stopped")


def test_a_file_of_the_same_size_with_other_content_stops_a_resume(place: Path) -> None:
    path = place / "photos" / "images" / "004.png"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # of the checksum of PNG's last chunk, which no reader looks at
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"1 image whose file has changed \(images/004.png\)"):
        distill(None, resume=place / "stopped")


def test_new_images_and_another_order_change_nothing(place: Path) -> None:
    photos = place / "photos"
    shutil.copy(photos / "images" / "001.png", photos / "images" / "new.png")
    edit(photos, lambda lines: [lines[0], "images/new.png,red", *reversed(lines[1:])])
    heard: list[str] = []
    run = distill(None, resume=place / "stopped", progress=heard_by(heard))
    assert any("1 new image in no split, not used (images/new.png)" in line for line in heard)
    finished = Run(place / "finished")
    assert run.results.metrics == finished.results.metrics
    resumed, uninterrupted = load_file(run.weights), load_file(finished.weights)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in uninterrupted.items())


def heard_by(lines: list[str]) -> Any:
    from mlkdc.progress import Progress

    class Heard(Progress):
        def say(self, text: str) -> None:
            lines.append(text)

    return Heard()


def test_data_that_has_moved(place: Path) -> None:
    (place / "photos").rename(place / "moved")
    with pytest.raises(
        UsageError, match=r"photos, the data of .*stopped, is not there; if it has moved, say where it is: --data PATH"
    ):
        distill(None, resume=place / "stopped")
    run = distill(None, resume=place / "stopped", data=str(place / "moved"))
    finished = Run(place / "finished")
    assert run.results.metrics == finished.results.metrics
    assert Run(run.path).recipe.data.path == str(place / "moved")
    before, after = ImageList.load(finished.path), ImageList.load(run.path)
    assert before is not None
    assert before.model_copy(update={"folder": str(place / "moved")}) == after
    # The run's data in another place: the same images are scored as in the run.
    scores = evaluate_run(finished, str(place / "moved"))
    assert (scores.scored_on, scores.images) == ("test", finished.results.data.images["test"])
    assert scores.metrics == finished.results.metrics


def test_the_split_is_kept_by_name_when_the_table_changes(place: Path) -> None:
    run, photos = Run(place / "finished"), place / "photos"
    listed = ImageList.load(run.path)
    assert listed is not None
    trained = {image.name for image in listed.images if image.split == "train"}
    tested = {image.name for image in listed.images if image.split == "test"}
    shutil.copy(photos / "images" / "001.png", photos / "images" / "zzz.png")
    edit(photos, lambda lines: [lines[0], *lines[2:], "images/zzz.png,red"])
    said: list[str] = []
    data = run_data(run, said.append)
    names = {sample.image.relative_to(photos).as_posix() for sample in data.split("test")}
    assert names == tested - {"images/000.png"}
    assert not names & trained
    assert len(said) == 1
    assert "1 image missing (images/000.png), 1 new image in no split, not used (images/zzz.png)" in said[0]


def test_evaluate_on_the_same_photos_leaves_out_what_was_trained_on(place: Path) -> None:
    run, said = Run(place / "finished"), []
    counts = run.results.data.images
    scores = evaluate(run.path, str(place / "photos"), say=said.append)
    assert scores.metrics == run.results.metrics
    assert scores.images == counts["test"]
    assert f"left out by name or content: {counts['train']} images of" in said[0]
    assert f"not scored: {counts['val']} images of" in said[1]


def test_an_artifact_in_a_run_leaves_out_the_same_images(place: Path, tmp_path: Path) -> None:
    run, said = Run(place / "finished"), []
    listed = ImageList.load(run.path)
    assert listed is not None
    tested = {Path(image.name).name for image in listed.images if image.split == "test"}
    inside, outside = run.path / "export" / "onnx-fp32", tmp_path / "onnx-fp32"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(b"x")
    manifest = make_manifest(inside, ["model.onnx"], classes=run.classes)
    for path in (None, str(place / "photos")):
        images = artifact_images(inside, path, manifest, said.append)
        assert {image.name for image in images.paths} == tested
    # Away from its run, nothing is known of what it was trained on.
    assert len(artifact_images(outside, str(place / "photos"), manifest, said.append).paths) == 48
    assert "is not recorded" in said[-1]
    with pytest.raises(UsageError, match="is not in a run's export folder"):
        artifact_images(outside, None, manifest, said.append)


def test_only_trained_images_are_refused_and_new_ones_of_the_same_name_scored(place: Path, tmp_path: Path) -> None:
    run = Run(place / "finished")
    listed = ImageList.load(run.path)
    assert listed is not None
    trained = [image.name for image in listed.images if image.split == "train"]
    edit(place / "photos", lambda lines: [lines[0], *(line for line in lines if line.split(",")[0] in trained)])
    with pytest.raises(UsageError, match=r"was trained on every one of the \d+ images of .*; name other images"):
        evaluate_run(run, str(place / "photos"))
    # 0001.jpg is a common name: another file with other labels is another image.
    other = without_split(write_photos(tmp_path / "other", count=40, size=60))
    edit(other, lambda lines: [lines[0], *(line.split(",")[0] + "," for line in lines[1:20]), *lines[20:]])
    said: list[str] = []
    scores = evaluate_run(run, str(other), said.append)
    assert scores.images is not None
    assert scores.images >= 19


def test_a_label_that_does_not_occur_and_another_order(place: Path, tmp_path: Path) -> None:
    run, said = Run(place / "finished"), []
    other = write_photos(tmp_path / "other", count=30, size=50)
    edit(other, lambda lines: [line.replace("|blue", "").replace("blue", "red") for line in lines])
    (other / "classes.txt").write_text("red\ngreen\n")
    scores = evaluate_run(run, str(other), said.append)
    assert [item.name for item in scores.per_class] == ["blue", "green", "red"]
    assert [item.ap_percent is None for item in scores.per_class] == [True, False, False]
    assert any("has the label blue" in line for line in said)


def test_a_run_of_an_earlier_version(place: Path) -> None:
    for run in ("stopped", "finished"):
        (place / run / "images.jsonl").unlink()
    with pytest.raises(UsageError, match=r"begun by an earlier version, which split .* Train again in another folder"):
        distill(None, resume=place / "stopped")
    with pytest.raises(UsageError, match=r"is not recorded.*results.json for its figures"):
        evaluate_run(Run(place / "finished"))
    said: list[str] = []
    evaluate_run(Run(place / "finished"), str(place / "photos"), said.append)
    assert "is not recorded" in said[-1]


def test_a_run_of_an_earlier_version_on_official_splits_goes_on(photos: Path, tmp_path: Path) -> None:
    stopped = stop_after_first_epoch(plain(photos), tmp_path / "stopped")
    (stopped / "images.jsonl").unlink()
    heard: list[str] = []
    run = distill(None, resume=stopped, progress=heard_by(heard))
    assert any("cannot be checked" in line for line in heard)
    assert evaluate_run(run).metrics == run.results.metrics


def test_images_that_were_skipped_stay_out(photos: Path, tmp_path: Path) -> None:
    (photos / "images" / "001.png").write_text("not an image")
    recipe = plain(photos)
    recipe.data.skip_bad = True
    stopped = stop_after_first_epoch(recipe, tmp_path / "stopped")
    shutil.copy(photos / "images" / "003.png", photos / "images" / "001.png")
    heard: list[str] = []
    run = distill(None, resume=stopped, progress=heard_by(heard))
    assert not any("changed" in line for line in heard)
    assert [Path(name).name for name in run.results.data.skipped] == ["001.png"]
    assert sum(run.results.data.images.values()) == 47


def test_a_checkpoint_of_another_recipe_is_refused_in_a_sentence(place: Path) -> None:
    stopped = place / "stopped"
    recipe = (stopped / "recipe.yaml").read_text(encoding="utf-8")
    assert "width: 0.25" in recipe
    (stopped / "recipe.yaml").write_text(recipe.replace("width: 0.25", "width: 0.5", 1), encoding="utf-8")
    with pytest.raises(UsageError, match=r"checkpoint\.pt is not of the model and training that recipe\.yaml"):
        distill(None, resume=stopped)
    (stopped / "recipe.yaml").write_text(recipe, encoding="utf-8")
    (stopped / "metrics.jsonl").unlink()
    with pytest.raises(UsageError, match=r"metrics\.jsonl is missing; copy the complete run folder"):
        distill(None, resume=stopped)


def test_a_damaged_list_is_named(place: Path) -> None:
    path = place / "finished" / "images.jsonl"
    lines = path.read_text().splitlines()
    faults = {
        "images.jsonl cannot be read": "\n".join([lines[0], lines[1][:-3], *lines[2:]]),
        "format 9, this version of mlkdc reads formats 1 and 2": "\n".join([json.dumps({"format": 9}), *lines[1:]]),
        r"images.2.split is missing|zip\(\) argument|shorter": "\n".join([*lines[:3], '["a"]', *lines[4:]]),
    }
    for said, text in faults.items():
        path.write_text(text)
        with pytest.raises(UsageError, match=said):
            run_data(Run(place / "finished"))
