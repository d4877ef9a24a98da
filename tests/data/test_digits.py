"""The embedded data set: seeded, cached, labels and boxes true, no handwritten digit in two splits."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from mlkdc.data import digits, fingerprint, open_data, scenes
from mlkdc.data.check import inspect
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.types import SPLITS, TaggedImages

IMAGES = 120


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaggedImages:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLKDC_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_data("digits", digits_images=IMAGES)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLKDC_CACHE", str(tmp_path))
    return tmp_path / "digits"


def objects(data: TaggedImages) -> dict[str, list[dict]]:
    return json.loads((data.root / "boxes.json").read_text(encoding="utf-8"))


def test_splits_classes_and_no_problem(data: TaggedImages):
    assert (data.name, data.layout, data.classes) == ("digits", "digits", tuple("0123456789"))
    assert [len(data.split(split)) for split in SPLITS] == [84, 12, 24]
    assert "no handwritten digit is in two splits" in data.split_from
    assert inspect(data) == []


def test_no_handwritten_digit_is_in_two_splits(data: TaggedImages):
    pixels = load_digits().images
    used: dict[str, set[bytes]] = {split: set() for split in SPLITS}
    by_name = objects(data)
    for sample in data.samples:
        for item in by_name[sample.image.relative_to(data.root).as_posix()]:
            used[sample.split].add(pixels[item["source"]].tobytes())
    assert min(map(len, used.values())) > 20
    assert not used["train"] & used["val"]
    assert not used["train"] & used["test"]
    assert not used["val"] & used["test"]


def test_partition_uses_every_handwritten_digit_once():
    parts = scenes.partition(0)
    everything = np.concatenate([part for split in SPLITS for part in parts[split]])
    assert sorted(everything) == list(range(1797))
    targets = load_digits().target
    for split in SPLITS:
        for digit, part in enumerate(parts[split]):
            assert set(targets[part]) == {digit}


def test_labels_are_those_of_the_boxes(data: TaggedImages):
    for sample in data.samples:
        assert 1 <= len(sample.boxes) <= 4
        assert sample.labels == tuple(sorted({box.label for box in sample.boxes}))
        for box in sample.boxes:
            assert 0 <= box.left < box.right <= 96
            assert 0 <= box.top < box.bottom <= 96


def test_every_box_shows_its_handwritten_digit(data: TaggedImages):
    """The image inside a box correlates with scikit-learn's 8x8 digit, in either polarity."""
    source = load_digits()
    likeness, others = [], []
    for name, items in objects(data).items():
        scene = Image.open(data.root / name).convert("L")
        for item in items:
            assert str(source.target[item["source"]]) == item["label"]
            for index, values in ((item["source"], likeness), ((item["source"] + 7) % 1797, others)):
                ink = source.images[index]
                ink = ink[ink.any(1)][:, ink.any(0)]
                inside = np.asarray(scene.crop(item["box"]).resize(ink.shape[::-1], Image.Resampling.BOX), float)
                values.append(abs(np.corrcoef(ink.ravel(), inside.ravel())[0, 1]))
    assert np.median(likeness) > 0.7
    assert np.median(others) < 0.45


def test_sizes_and_contrasts_vary_and_each_digit_has_its_hue(data: TaggedImages):
    heights, contrasts, hues = [], [], []
    for sample in data.samples:
        pixels = np.asarray(Image.open(sample.image), float)
        for box in sample.boxes:
            heights.append(box.bottom - box.top)
            inside = pixels[int(box.top) : int(box.bottom), int(box.left) : int(box.right)].reshape(-1, 3)
            order = inside.sum(1).argsort()
            ink = inside[order[-len(order) // 5 :]].mean(0) - inside[order[: len(order) // 5]].mean(0)
            contrasts.append(ink.mean())
            red, green, blue = ink
            hue = np.degrees(np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue))
            hues.append(abs((hue - 36 * box.label + 180) % 360 - 180))
    assert np.quantile(heights, 0.95) > 2 * np.quantile(heights, 0.05)
    assert np.quantile(contrasts, 0.95) > 1.5 * np.quantile(contrasts, 0.05)
    assert np.median(hues) < 12


def test_seed_decides_everything(data: TaggedImages, empty_cache: Path):
    again = open_data("digits", digits_images=IMAGES)
    assert again.root != data.root
    assert fingerprint(again) == fingerprint(data)
    for one, other in zip(data.samples, again.samples, strict=True):
        assert one.image.read_bytes() == other.image.read_bytes()
        assert one.boxes == other.boxes
    assert fingerprint(open_data("digits", seed=1, digits_images=IMAGES)) != fingerprint(data)


def test_second_call_does_no_work(empty_cache: Path, monkeypatch: pytest.MonkeyPatch):
    first = open_data("digits", digits_images=20)
    monkeypatch.setattr(digits, "_write", lambda *_: pytest.fail("made twice"))
    assert open_data("digits", digits_images=20) == first
    assert [folder.name for folder in empty_cache.iterdir()] == [first.root.name]


def test_other_constants_are_another_data_set(empty_cache: Path):
    first = digits.make_digits(20, 0)
    second = digits.make_digits(20, 0, scenes.Difficulty(pixels=64, largest=30))
    assert first != second
    assert Image.open(second / "images/00000.png").size == (64, 64)


@pytest.mark.parametrize(
    ("failure", "expected"),
    [(OSError(28, "No space left on device"), MlkdcError), (KeyboardInterrupt, KeyboardInterrupt)],
)
def test_nothing_half_made_is_left(failure, expected, empty_cache: Path, monkeypatch: pytest.MonkeyPatch):
    def stop(*_, **__):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", stop)
        with pytest.raises(expected):
            digits.make_digits(20, 0)
    assert list(empty_cache.iterdir()) == []
    assert (digits.make_digits(20, 0) / "labels.csv").is_file()


def test_another_process_was_first(empty_cache: Path, monkeypatch: pytest.MonkeyPatch):
    write = digits._write

    def meanwhile(folder: Path, *rest):
        write(folder, *rest)
        with monkeypatch.context() as patch:
            patch.setattr(digits, "_write", write)
            digits.make_digits(20, 0)

    monkeypatch.setattr(digits, "_write", meanwhile)
    made = digits.make_digits(20, 0)
    assert list(empty_cache.iterdir()) == [made]


def test_a_folder_called_digits_is_read_as_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="an empty folder"):
        open_data("./digits")


@pytest.fixture
def without_sklearn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """scikit-learn as if it were not installed."""
    scenes.handwriting.cache_clear()
    for name in ("sklearn", "sklearn.datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    yield
    scenes.handwriting.cache_clear()


@pytest.mark.usefixtures("without_sklearn")
def test_without_sklearn_the_message_says_what_to_install(empty_cache: Path):
    with pytest.raises(UsageError, match=r"come with scikit-learn, .*; run: pip install 'mlkdc\[train\]'$") as caught:
        open_data("digits", digits_images=20)
    assert "\n" not in str(caught.value)
    assert list(empty_cache.iterdir()) == []


def test_sklearn_is_not_needed_once_the_scenes_are_in_the_cache(empty_cache: Path, request: pytest.FixtureRequest):
    first = open_data("digits", digits_images=20)
    request.getfixturevalue("without_sklearn")
    assert open_data("digits", digits_images=20) == first


def test_the_measuring_half_does_not_import_the_making_half():
    code = "import sys, mlkdc.data.check, mlkdc.data.runs, mlkdc.metrics; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    imported = set(done.stdout.split())
    assert "mlkdc.metrics.summary" in imported
    assert not imported & {"torch", "torchvision", "timm", "accelerate", "sklearn", "scipy"}
