"""Data that is not read as it looks, with images apart from its labels or a layout that was named, in another place."""

import shutil
from pathlib import Path

import pytest
from samples import write_photos
from test_changed_data import edit, plain, stop_after_first_epoch

from mlkdc.data.runs import is_gone, run_data
from mlkdc.data.scoring import images_of_run
from mlkdc.errors import UsageError
from mlkdc.records.run import Run
from mlkdc.train import distill, evaluate_run

pytestmark = pytest.mark.slow


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A finished run of labels in ``set/tab``, whose images are in ``set/pics``; both were given relative to here."""
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "set" / "tab")
    (tmp_path / "set" / "tab" / "images").rename(tmp_path / "set" / "pics")
    edit(tmp_path / "set" / "tab", lambda lines: [line.replace("images/", "") for line in lines])
    recipe = plain(Path("set/tab"))
    recipe.data.images = "set/pics"
    return distill(recipe, out=tmp_path / "apart")


def test_images_apart_from_their_labels_are_found_from_any_folder(
    apart: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Run(apart.path).recipe.data.images == str(tmp_path / "set" / "pics")
    monkeypatch.chdir(apart.path)
    assert evaluate_run(apart).metrics == apart.results.metrics
    # The same data by its name has the same images.
    assert evaluate_run(apart, str(tmp_path / "set" / "tab")).metrics == apart.results.metrics


@pytest.mark.parametrize("kept", ["nothing", "images"])
def test_images_apart_from_their_labels_can_move_along_or_stay(kept: str, apart: Run, tmp_path: Path) -> None:
    (tmp_path / "set").rename(tmp_path / "moved")
    if kept == "images":
        (tmp_path / "set").mkdir()
        (tmp_path / "moved" / "pics").rename(tmp_path / "set" / "pics")
    place, said = str(tmp_path / "moved" / "tab"), []
    assert evaluate_run(apart, place).metrics == apart.results.metrics
    data = run_data(apart, said.append, moved_to=place)
    assert not said
    assert {split: len(data.split(split)) for split in data.splits} == apart.results.data.images
    assert all(sample.image.is_file() for sample in data.samples)


def test_images_that_are_gone_are_named_and_looked_for_below_the_data(apart: Run, tmp_path: Path) -> None:
    tab, pics = tmp_path / "set" / "tab", tmp_path / "set" / "pics"
    pics.rename(tab / "elsewhere")
    with pytest.raises(
        UsageError, match=r"set/pics, the folder of the images of .*apart, is not there; .* --data PATH"
    ):
        evaluate_run(apart)
    assert is_gone(apart)
    assert evaluate_run(apart, str(tab)).metrics == apart.results.metrics


def test_a_stopped_training_goes_on_where_its_images_have_moved_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos = write_photos(tmp_path / "set" / "tab")
    (photos / "images").rename(tmp_path / "set" / "images")
    recipe = plain(photos)
    recipe.data.images = "set/images"
    stop_after_first_epoch(recipe, tmp_path / "stopped")
    (tmp_path / "set").rename(tmp_path / "moved")
    run = distill(None, resume=tmp_path / "stopped", data="moved/tab")
    assert Run(run.path).recipe.data.images == str(tmp_path / "moved" / "images")


@pytest.fixture
def by_folder(tmp_path: Path) -> Run:
    """A finished run of images in folders that are called as their labels, which must be said."""
    photos = write_photos(tmp_path / "plain")
    for line in (photos / "labels.csv").read_text(encoding="utf-8").splitlines()[1:]:
        name, labels, split = line.split(",")
        folder = tmp_path / "folders" / split / labels.split("|")[0]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / name, folder)
    recipe = plain(tmp_path / "folders")
    recipe.data.layout = "folders"
    return distill(recipe, out=tmp_path / "by_folder")


def test_other_data_is_read_in_the_layout_of_the_run_or_as_it_looks(by_folder: Run, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "folders", tmp_path / "copy")
    assert evaluate_run(by_folder, str(tmp_path / "copy")).metrics == by_folder.results.metrics
    scores = evaluate_run(by_folder, str(write_photos(tmp_path / "table", count=30, size=50)))
    assert (scores.scored_on, scores.images) == ("test", 6)
    with pytest.raises(UsageError, match=r"nowhere: no such file or folder"):
        evaluate_run(by_folder, str(tmp_path / "nowhere"))


def test_other_data_has_its_own_images_though_the_names_are_the_same(apart: Run, tmp_path: Path) -> None:
    other = write_photos(tmp_path / "other", count=30, size=50)
    images = images_of_run(apart, str(other), lambda _: None)
    assert {path.parent for path in images.paths} == {other / "images"}
