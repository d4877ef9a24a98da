"""How an image becomes a square: the same pixels in training, validation, export and prediction."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from boxes import drawn_boxes
from PIL import Image
from samples import make_manifest
from sklearn.metrics import average_precision_score

from mlkdc.commands.predict import predict
from mlkdc.data.runs import run_data
from mlkdc.exporting import export
from mlkdc.fit import RESIZE, Fit
from mlkdc.images import load_square
from mlkdc.models import build_model
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.records.manifest import Manifest
from mlkdc.records.preparation import Preparation
from mlkdc.runtime import open_artifact
from mlkdc.runtime.predict import predict_files
from mlkdc.train import distill
from mlkdc.train.input.store import images_for
from mlkdc.train.input.views import Views
from mlkdc.train.loading import training_images
from mlkdc.train.teacher import choose_teacher
from mlkdc.types import Sample

Tiny = Callable[..., Recipe]
FITS = get_args(Fit)
SIZE = 32


@pytest.fixture(params=[(60, 40), (41, 90), (50, 50)], ids=["wide", "high", "square"])
def photo(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    width, height = request.param
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path


def by_hand(path: Path, fit: str) -> np.ndarray:
    """The square as the manifest describes it in words."""
    image = Image.open(path)
    shorter, longer = min(image.size), max(image.size)
    if fit == "stretch":
        return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    if fit == "crop":
        left, top = (image.width - shorter) / 2, (image.height - shorter) / 2
        box = (left, top, left + shorter, top + shorter)
        return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box))
    width, height = (round(SIZE * side / longer) for side in image.size)
    square = np.full((SIZE, SIZE, 3), 114, dtype=np.uint8)
    top, left = round((SIZE - height) / 2), round((SIZE - width) / 2)
    square[top : top + height, left : left + width] = np.asarray(
        image.resize((width, height), Image.Resampling.BILINEAR)
    )
    return square


@pytest.mark.parametrize("fit", FITS)
def test_each_fit_is_what_it_says(fit: Fit, photo: Path) -> None:
    assert np.array_equal(load_square(photo, SIZE, fit), by_hand(photo, fit))


class Session:
    """What prediction needs of a session; remembers the pixels."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.seen = np.empty(0)

    def predict(self, batch: np.ndarray) -> np.ndarray:
        self.seen = batch
        return np.zeros((len(batch), len(self.manifest.classes)), dtype=np.float32)


@pytest.mark.parametrize("fit", FITS)
def test_training_validation_and_prediction_see_the_same_pixels(
    fit: Fit, photo: Path, tiny: Tiny, tmp_path: Path
) -> None:
    recipe = tiny(data={"path": "x", "image_size": SIZE, "fit": fit})
    samples = [Sample(photo, (0,), "train")]
    (trained,) = training_images(recipe, samples, [SIZE])[0][1]
    model = build_model(recipe.student, 3, SIZE, fit)
    (validated,) = images_for(model.preprocess, samples)[0][1]
    manifest = make_manifest(tmp_path, [], size=SIZE, preprocess=Preparation.of(model.preprocess, "NCHW"))
    session = Session(manifest)
    predict_files(session, [photo])  # type: ignore[arg-type]
    expected = torch.from_numpy(by_hand(photo, fit).copy()).permute(2, 0, 1)
    assert torch.equal(trained, expected)
    assert torch.equal(validated, expected)
    assert np.array_equal(session.seen[0], expected.numpy())


def test_the_manifest_says_how_and_an_older_one_stretches(tmp_path: Path, tiny: Tiny) -> None:
    assert set(FITS) == set(RESIZE)
    for fit in FITS:
        preprocess = build_model(tiny().student, 3, SIZE, fit).preprocess
        assert (preprocess.fit, preprocess.resize) == (fit, RESIZE[fit])
    manifest = make_manifest(tmp_path, [], size=SIZE)
    values = json.loads(manifest.save(tmp_path).read_text())
    del values["checksum"], values["inside"]
    old = {"size": SIZE, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "resize": RESIZE["stretch"], "color": "RGB"}
    (tmp_path / "manifest.json").write_text(json.dumps({**values, "format": 2, "preprocess": old}))
    read = Manifest.load(tmp_path)
    assert read.preprocess == Preparation(size=SIZE)
    assert (read.inside.mean, read.inside.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.mark.slow
def test_a_teacher_of_another_fit_is_named(tiny: Tiny, tmp_path: Path) -> None:
    lines: list[str] = []

    class Heard(Progress):
        def say(self, text: str) -> None:
            lines.append(text)

    recipe = tiny(distill={"method": "mld"})
    recipe.train.epochs = 1
    trained = distill(recipe, out=tmp_path / "first", progress=Heard()).results.teacher
    assert not any("data.fit" in line for line in lines)
    assert trained
    padded = choose_teacher(recipe, trained.run)
    padded.data.fit = "pad"
    distill(padded, out=tmp_path / "second", progress=Heard())
    assert any("trained with data.fit=stretch and is shown images with data.fit=pad" in line for line in lines)


@pytest.mark.converter
@pytest.mark.slow
def test_an_exported_model_is_worth_what_the_torch_model_is(tiny: Tiny, photos: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((photos / "images").iterdir())):
        image = Image.open(path)
        shape = ((0, 0, 40, 16), (0, 0, 14, 40), (0, 0, 40, 40))[number % 3]
        image.crop(shape).save(path)
    recipe = tiny(distill={"method": "vanilla"}, teacher=None)
    recipe.data.fit, recipe.train.epochs = "pad", 6
    run = distill(recipe, out=tmp_path / "run")
    artifact = export(run, "onnx")
    manifest = Manifest.load(artifact)
    assert manifest.preprocess.fit == "pad"
    assert manifest.parity.passed
    data = run_data(run)
    test = data.split("test")
    answers = list(predict(artifact, [sample.image for sample in test], top=3))
    scores = np.array([[answer.labels[name] for name in data.classes] for answer in answers])
    found = 100 * average_precision_score(data.targets("test"), scores, average="macro")
    assert found == pytest.approx(run.results.map_percent, abs=1e-3)
    # The photos' shape matters: stretched ones get other answers.
    with open_artifact(artifact) as session:
        stretched = np.stack([load_square(sample.image, 32, "stretch") for sample in test]).transpose(0, 3, 1, 2)
        assert np.abs(session.predict(stretched) - scores).max() > 1e-3


def test_training_views_are_as_sharp_as_crops_of_the_image_itself(tiny: Tiny, tmp_path: Path) -> None:
    """What Pillow makes of the same boxes of the file; before, two bilinear filters left a tenth less contrast."""
    size, path, generator = 96, tmp_path / "photo.png", np.random.default_rng(0)
    pixels = np.zeros((240, 320, 3))
    # Details of every size, as photos have them.
    for side in (5, 20, 80, 320):
        coarse = generator.integers(0, 256, (side * 3 // 4, side, 3), dtype=np.uint8)
        pixels += np.asarray(Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC)) / 4
    photo = Image.fromarray(pixels.round().astype(np.uint8))
    photo.save(path)
    recipe = tiny(data={"path": "x", "image_size": size, "augment": {"crop": 0.5, "flip": False}})
    images = training_images(recipe, [Sample(path, (0,), "train")], [size])[0][1][0]
    views = Views(recipe.data.augment, 1, 0)
    shown, expected = [], []
    for epoch in range(8):
        views.set_epoch(epoch)
        shown.append(views(torch.zeros(1, dtype=torch.int64), images[None], size)[0].permute(1, 2, 0).numpy())
        ((left, top, right, bottom),) = drawn_boxes(seed=0, view=epoch, images=1, crop=0.5)
        box = (320 * left, 240 * top, 320 * right, 240 * bottom)
        expected.append(np.asarray(photo.resize((size, size), Image.Resampling.BILINEAR, box=box), dtype=np.float64))
    assert steepness(shown) == pytest.approx(steepness(expected), rel=0.03)
    assert np.abs(np.array(shown) - np.array(expected)).mean() < 2


def steepness(images: list[np.ndarray]) -> float:
    """Root of the mean square of the difference of neighbors."""
    across, down = (np.diff(images, axis=axis) for axis in (1, 2))
    return float(np.sqrt((across**2).mean() + (down**2).mean()))
