"""A teacher's answers are kept under a name that holds all they depend on."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mlkdc.models import build_model
from mlkdc.progress import Progress
from mlkdc.recipe import Augment, Recipe, Teacher
from mlkdc.train import teacher as module
from mlkdc.train.checkpoint import save_weights
from mlkdc.train.learner import outputs_of
from mlkdc.train.plan import Plan, make_plan
from mlkdc.train.teacher import (
    ReadyTeacher,
    answers_key,
    attach_cache,
    load_teacher,
    teacher_folder,
    teacher_recipe,
)

pytestmark = pytest.mark.slow

Tiny = Callable[..., Recipe]
Change = Callable[[Recipe], None]

#: Another value for each way of drawing views; mixed images are not kept.
AUGMENT = {"flip": False, "crop": 0.5, "cutout": 0.2, "brightness": 0.1, "randaugment": True, "seed": 5}
MIXES = {"mixup", "cutmix"}
#: How many views take turns is no part of it: each view is kept by its number.
BY_NUMBER = {"views"}
SMALL = {"kind": "compact", "dim": 16, "ffn": 16}


@pytest.fixture
def taught(tiny: Tiny, tmp_path: Path) -> Recipe:
    """MLD from a teacher in a weights file."""
    recipe = tiny(distill={"method": "mld"})
    assert recipe.teacher
    model = build_model(recipe.teacher, 3, 48)
    path = tmp_path / "teacher.safetensors"
    save_weights(path, model, {})
    recipe.teacher.source, recipe.teacher.classes = str(path), "data"
    return recipe


def ready(recipe: Recipe) -> tuple[Plan, ReadyTeacher]:
    plan = make_plan(recipe, Progress())
    assert recipe.teacher
    assert recipe.teacher.source
    return plan, load_teacher(recipe.teacher.source, recipe.teacher, plan)


def folder(recipe: Recipe) -> Path:
    """Where the answers are kept."""
    plan, teacher = ready(recipe)
    attach_cache(teacher, plan, Progress())
    assert teacher.source.cache
    return teacher.source.cache.folder


def changed(recipe: Recipe, change: Change) -> Recipe:
    other = recipe.model_copy(deep=True)
    change(other)
    return other


def teacher_of(recipe: Recipe) -> Teacher:
    assert recipe.teacher
    return recipe.teacher


def set_augment(name: str, value: Any) -> Change:
    return lambda recipe: setattr(recipe.data.augment, name, value)


def test_every_way_of_drawing_views_is_part_of_it(taught: Recipe) -> None:
    assert set(AUGMENT) | MIXES | BY_NUMBER == set(Augment.model_fields)
    here = folder(taught)
    for name, value in AUGMENT.items():
        assert folder(changed(taught, set_augment(name, value))) != here, name
    for name in BY_NUMBER:
        assert folder(changed(taught, set_augment(name, 3))) == here, name


def set_teacher(name: str, value: Any) -> Change:
    return lambda recipe: setattr(teacher_of(recipe), name, value)


def other_weights(recipe: Recipe) -> None:
    teacher = teacher_of(recipe)
    path = Path(str(teacher.source))
    state = load_file(path)
    state["head.bias"] = state["head.bias"] + 1
    other = path.with_name("other.safetensors")
    save_file(state, other)
    teacher.source = str(other)


CHANGES: dict[str, Change] = {
    "the teacher's weights": other_weights,
    "the teacher's image size": set_teacher("image_size", 64),
    "precision": lambda recipe: setattr(recipe.train, "precision", "bf16"),
    "how images become squares": lambda recipe: setattr(recipe.data, "fit", "pad"),
    "which images": lambda recipe: setattr(recipe.data, "train_splits", ["train", "val"]),
    # Views have the run's seed where they have none of their own.
    "the run's seed": lambda recipe: setattr(recipe, "seed", 1),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_else_decides_the_answers_is_part_of_it(name: str, taught: Recipe) -> None:
    assert folder(changed(taught, CHANGES[name])) != folder(taught)


def test_the_layout_of_the_files_is_part_of_it(taught: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    here = folder(taught)
    monkeypatch.setattr(module, "CACHE_FORMAT", module.CACHE_FORMAT + 1)
    assert folder(taught) != here


@pytest.mark.parametrize("name", ["mean", "std"])
def test_how_the_model_normalizes_is_part_of_it(name: str, taught: Recipe) -> None:
    plan, teacher = ready(taught)
    here = answers_key(teacher, plan)
    # Which the recipe need not say: pretrained weights can bring their own.
    model = teacher.source.model
    model.preprocess = model.preprocess.model_copy(update={name: (0.3, 0.3, 0.3)})
    assert answers_key(teacher, plan) != here


def change_a_byte(path: Path) -> None:
    """Change the last byte, of the checksum of PNG's last chunk: as many bytes as before, of the same pixels."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("of", ["labels", "split", "images", "content", "classes"])
def test_the_data_is_part_of_it(of: str, taught: Recipe, photos: Path) -> None:
    here = folder(taught)
    table = photos / "labels.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    if of == "labels":
        name, labels, split = lines[1].split(",")
        lines[1] = f"{name},{'blue' if labels == 'red' else 'red'},{split}"
    elif of == "split":
        lines[1] = lines[1].replace(",train", ",val")
    elif of == "images":
        shutil.copy(photos / "images" / "001.png", photos / "images" / "000.png")
    elif of == "content":
        change_a_byte(photos / "images" / "000.png")
    else:
        (photos / "classes.txt").write_text("green\nred\nblue\n", encoding="utf-8")
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert folder(taught) != here


def test_where_the_files_lie_and_who_learns_are_no_part_of_it(taught: Recipe, tmp_path: Path) -> None:
    here = folder(taught)
    teacher = teacher_of(taught)
    copied = tmp_path / "elsewhere" / "t.safetensors"
    copied.parent.mkdir()
    shutil.copy(str(teacher.source), copied)
    moved = shutil.copytree(taught.data.path, tmp_path / "elsewhere" / "photos")

    def elsewhere(recipe: Recipe) -> None:
        teacher_of(recipe).source = str(copied)
        recipe.data.path = str(moved)

    def another_student(recipe: Recipe) -> None:
        recipe.data.image_size, recipe.student.width = 64, 0.35
        recipe.train.batch_size, recipe.train.epochs, recipe.train.lr = 5, 3, 0.1
        recipe.distill.terms = {"mld": 3}

    for change in (elsewhere, another_student):
        assert folder(changed(taught, change)) == here


def fine_tuned(recipe: Recipe) -> str:
    """What the folder of the recipe's fine-tuned teacher is called."""
    plan = make_plan(recipe, Progress())
    return teacher_folder(Path(), teacher_recipe(plan.recipe, teacher_of(plan.recipe)), plan).name


def test_a_fine_tuned_teacher_is_of_what_its_images_and_initial_weights_hold(
    tiny: Tiny, photos: Path, tmp_path: Path
) -> None:
    initial, copied = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_file({"weight": torch.zeros(3)}, initial)
    shutil.copy(initial, copied)
    recipe = tiny(distill={"method": "mld"})
    here = fine_tuned(changed(recipe, set_teacher("weights", str(initial))))
    assert fine_tuned(changed(recipe, set_teacher("weights", str(copied)))) == here
    assert fine_tuned(recipe) != here
    save_file({"weight": torch.ones(3)}, initial)
    assert fine_tuned(changed(recipe, set_teacher("weights", str(initial)))) != here
    change_a_byte(photos / "images" / "000.png")
    assert fine_tuned(changed(recipe, set_teacher("weights", str(copied)))) != here


def answered(recipe: Recipe) -> Tensor:
    """The teacher's logits for some pixels."""
    _, teacher = ready(recipe)
    image = 255 * torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs, _ = outputs_of(teacher.source.model.eval(), image, torch.ones(1, 3), frozenset({"logits"}))
    return outputs.logits


ONE_FILE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "parts of the attention": ({"head": {**SMALL, "heads": 2}}, {"head": {**SMALL, "heads": 4}}),
    "weight of the attended scores": (
        {"head": {"kind": "attention", "residual": 0.2}},
        {"head": {"kind": "attention", "residual": 0.7}},
    ),
    # Which pad otherwise.
    "backbone": ({"model": "mobilenetv3_small_075"}, {"model": "tf_mobilenetv3_small_075"}),
}


@pytest.mark.parametrize("name", ONE_FILE)
def test_one_file_read_as_two_architectures_is_two_teachers(name: str, taught: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "both.safetensors"
    recipes = []
    for changes in ONE_FILE[name]:
        spec = Teacher.model_validate(teacher_of(taught).model_dump() | changes | {"source": str(path)})
        recipes.append(taught.model_copy(update={"teacher": spec}))
    torch.manual_seed(0)
    model = build_model(teacher_of(recipes[0]), 3, 48)
    for parameter in model.head.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)
    save_weights(path, model, {})
    first, second = recipes
    assert not torch.allclose(answered(first), answered(second), atol=1e-3)
    assert folder(first) != folder(second)
