"""`mlkdc predict` on folders: bad images are counted, no label is lost."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from mlkdc.cli import cli
from mlkdc.commands.predict import image_files
from mlkdc.errors import UsageError
from mlkdc.images import open_rgb


@pytest.fixture(autouse=True)
def artifact(monkeypatch: pytest.MonkeyPatch) -> None:
    """An artifact with three classes, two of them of one name, that opens images as any other does."""

    @contextmanager
    def opened(folder: Path, *, allow_failed: bool) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(manifest=SimpleNamespace(classes=["cat", "dog", "cat"], thresholds=[0.5, 0.5, 0.5]))

    def predict_files(session: SimpleNamespace, paths: Sequence[Path]) -> np.ndarray:
        for path in paths:
            open_rgb(path)
        return np.array([[0.75, 0.25, 0.5]] * len(paths))

    monkeypatch.setattr("mlkdc.commands.predict.open_artifact", opened)
    monkeypatch.setattr("mlkdc.commands.predict.predict_files", predict_files)
    monkeypatch.setattr("mlkdc.cli.artifacts._say_if_unverified", lambda folder: None)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A good image of every common kind, one that is cut, and no image."""
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8))
    for suffix in (".jpg", ".PNG", ".gif", ".jfif", ".tiff"):
        noise.save(folder / f"good{suffix}", format={".jfif": "JPEG"}.get(suffix))
    (folder / "cut.png").write_bytes((folder / "good.PNG").read_bytes()[:2000])
    (folder / "notes.txt").write_text("no image", encoding="utf-8")
    return folder


def predict(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["predict", "--model", "artifact", *arguments])


def test_a_folder_goes_on_after_a_bad_image(photos: Path):
    done = predict(str(photos))
    assert done.stdout.count("good") == 5
    assert f"skipped: {photos / 'cut.png'}: truncated or damaged" in done.stderr
    assert str(done.exception) == "1 of 6 images could not be read"


def test_json_has_a_line_for_each_image_and_every_label(photos: Path):
    done = predict(str(photos), "--json", "--top", "3")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 6
    assert [Path(line["image"]).name for line in lines if "error" in line] == ["cut.png"]
    assert lines[-1]["labels"] == {"cat": 0.75, "cat #2": 0.5, "dog": 0.25}


def test_the_only_image_asked_for_is_an_error(photos: Path):
    done = predict(str(photos / "cut.png"))
    assert isinstance(done.exception, UsageError)
    assert "cut.png: truncated or damaged" in str(done.exception)


def test_a_folder_is_read_with_what_lies_in_it_but_what_is_hidden(photos: Path):
    for name in ("of 2025/a/first.jpg", "of 2024/second.webp", ".trash/gone.jpg"):
        place = photos / name
        place.parent.mkdir(parents=True)
        place.write_bytes((photos / "good.jpg").read_bytes())
    inside = [str(path.relative_to(photos)) for path in image_files([photos])]
    assert inside == sorted(inside)
    assert {"of 2025/a/first.jpg", "of 2024/second.webp", "good.jpg"} < set(inside)
    assert ".trash/gone.jpg" not in inside


def test_a_folder_without_images(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    with pytest.raises(UsageError, match="holds no image"):
        image_files([tmp_path])
