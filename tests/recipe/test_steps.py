"""Every shipped recipe is built and trained for one step, with its models, method and optimizer, on two images."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from mlkdc.commands.reproduce import load_table, table_names
from mlkdc.commands.reproduce.train import _cells
from mlkdc.losses import make_objective
from mlkdc.models import MultiLabelModel, build_model
from mlkdc.progress import Progress
from mlkdc.recipe import Model, Recipe, load_recipe, shipped_recipes
from mlkdc.train.loop import Trainer
from mlkdc.train.sources import TeacherSource
from mlkdc.types import Sample, TaggedImages

pytestmark = pytest.mark.slow

SIZE = 64
CLASSES = 3


#: Over a table's recipes, so that its methods are tried on models of no size.
SMALL = [
    *("student.model=mobilenetv2", "student.width=0.25", "teacher.model=resnet10t"),
    *(f"{part}.head.{key}=16" for part in ("student", "teacher") for key in ("dim", "ffn")),
]
stepped: set[str] = set()


def new(recipe: Recipe) -> bool:
    """Whether no recipe like this was stepped: those of other tables may differ in their data only."""
    kept = recipe.model_dump(exclude={"name", "description", "targets", "bench"})
    key = json.dumps({**kept, "data": kept["data"]["augment"]}, sort_keys=True)
    found = key not in stepped
    stepped.add(key)
    return found


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> TaggedImages:
    """Two images that share two labels."""
    folder = tmp_path_factory.mktemp("images")
    for name in ("a", "b"):
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    samples = (Sample(folder / "a.png", (0, 1), "train"), Sample(folder / "b.png", (0, 1, 2), "train"))
    return TaggedImages("pair", folder, "csv", ("x", "y", "z"), samples)


@cache
def teacher(spec: str) -> MultiLabelModel:
    torch.manual_seed(0)
    return build_model(Model.model_validate_json(spec), CLASSES, SIZE)


def step(recipe: Recipe, data: TaggedImages, folder: Path) -> None:
    """One epoch of one step, by the trainer; the recipe's schedule and rate are kept."""
    torch.manual_seed(0)
    student = build_model(recipe.student.model_copy(update={"weights": "none"}), CLASSES, SIZE)
    for layer in student.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)  # what begins at zero lets no gradient into its branch at the first step
    before = {name: tensor.clone() for name, tensor in student.named_parameters()}
    recipe = recipe.model_copy(deep=True)
    recipe.data.image_size, recipe.data.augment.randaugment = SIZE, False
    recipe.train.batch_size, recipe.train.stop_after = 2, 1
    objective = make_objective(recipe.distill)
    source = None
    if objective.needs_teacher:
        assert recipe.teacher
        spec = Model(model=recipe.teacher.model, weights="none", head=recipe.teacher.head)
        source = TeacherSource(teacher(spec.model_dump_json()), SIZE)
    Trainer(folder, recipe, student, data, objective, source, Progress()).train(resume=False)
    (line,) = (folder / "metrics.jsonl").read_text().splitlines()
    assert set(json.loads(line)["terms"]) == set(objective.terms)
    moved = [name for name, tensor in student.named_parameters() if not torch.equal(tensor, before[name])]
    assert all(tensor.isfinite().all() for tensor in student.parameters())
    # A scale right before another normalization has next to no gradient: SGD's step on it is lost in rounding.
    assert len(moved) > 0.85 * len(before), set(before) - set(moved)


@pytest.fixture(autouse=True)
def no_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of megabytes each, that no one reads."""
    monkeypatch.setattr("mlkdc.train.loop.save_checkpoint", lambda *_: None)


@pytest.mark.parametrize("name", shipped_recipes())
def test_recipe_is_trained_for_a_step(name: str, pair: TaggedImages, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    if new(recipe):
        step(recipe, pair, tmp_path)


@pytest.mark.parametrize("name", table_names())
def test_methods_of_a_table_are_trained_for_a_step(name: str, pair: TaggedImages, tmp_path: Path) -> None:
    table = load_table(name)
    row = next(iter(table.rows))
    for cell in _cells(table.model_copy(update={"rows": {row: table.rows[row]}}), None, SMALL, 0, tmp_path):
        if new(cell.recipe):
            cell.folder.mkdir()
            step(cell.recipe, pair, cell.folder)
