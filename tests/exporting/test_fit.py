"""A model of images with a gray border: trained, exported and used on photos of any shape."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

from mlkdc.commands.predict import predict
from mlkdc.data.runs import run_data
from mlkdc.exporting import export
from mlkdc.images import load_square
from mlkdc.recipe import Recipe
from mlkdc.records.manifest import Manifest
from mlkdc.runtime import open_artifact
from mlkdc.train import distill

pytestmark = [pytest.mark.converter, pytest.mark.slow]


def test_an_exported_model_is_worth_what_the_torch_model_is(
    tiny: Callable[..., Recipe], photos: Path, tmp_path: Path
) -> None:
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
