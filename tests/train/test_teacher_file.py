"""A weights file as a teacher: its labels must be known, and all that decides its answers is in its cache's key."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_training import tiny_recipe

from mlkdc.errors import UsageError
from mlkdc.models import build_model
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.train.job import build_initial
from mlkdc.train.plan import Plan, make_plan
from mlkdc.train.teacher import ReadyTeacher, answers_key, load_teacher

LABELS = ["red", "green", "blue"]


def teacher_plan(photos: Path, **changes: object) -> Plan:
    recipe = tiny_recipe(photos)
    assert recipe.teacher is not None
    recipe.teacher = recipe.teacher.model_copy(update=changes)
    return make_plan(recipe, Progress())


@pytest.fixture
def weights(photos: Path, tmp_path: Path) -> Path:
    """Of the tiny recipe's teacher, in a folder of its own; nothing says which labels."""
    spec = tiny_recipe(photos).teacher
    assert spec is not None
    torch.manual_seed(0)
    path = tmp_path / "weights" / "teacher.pt"
    path.parent.mkdir()
    torch.save({"model": build_model(spec, 3, 48).state_dict()}, path)
    return path


def load(plan: Plan, path: Path) -> ReadyTeacher:
    assert plan.recipe.teacher is not None
    return load_teacher(str(path), plan.recipe.teacher, plan)


def test_a_file_that_does_not_say_its_labels_is_refused(photos: Path, weights: Path) -> None:
    with pytest.raises(UsageError, match=r"does not say which .*classes.txt next to it .*classes=data.*\(red, green"):
        load(teacher_plan(photos), weights)
    load(teacher_plan(photos, classes="data"), weights)


def test_labels_beside_the_file_or_in_one_that_is_named(photos: Path, weights: Path, tmp_path: Path) -> None:
    beside, elsewhere = weights.with_name("classes.txt"), tmp_path / "elsewhere.txt"
    beside.write_text("\n".join(LABELS))
    load(teacher_plan(photos), weights)
    beside.write_text("\n".join(reversed(LABELS)))
    with pytest.raises(UsageError, match=r"3 labels in another order \("):
        load(teacher_plan(photos), weights)
    elsewhere.write_text("\n".join(LABELS), encoding="utf-8-sig")
    load(teacher_plan(photos, classes=str(elsewhere)), weights)
    with pytest.raises(UsageError, match=r"lost\.txt, expected to list the teacher's labels, cannot be read"):
        load(teacher_plan(photos, classes=str(tmp_path / "lost.txt")), weights)


def test_a_checkpoint_under_the_suffix_of_safetensors_is_read(photos: Path, weights: Path) -> None:
    path = weights.rename(weights.with_suffix(".safetensors"))
    with pytest.raises(UsageError, match="does not say which labels its outputs are"):
        load(teacher_plan(photos), path)
    load(teacher_plan(photos, classes="data"), path)


def test_labels_in_the_file_count_more_than_those_beside_it(photos: Path, weights: Path) -> None:
    state = torch.load(weights, weights_only=True)["model"]
    path = weights.with_suffix(".safetensors")
    save_file(state, path, metadata={"classes": "\n".join(reversed(LABELS))})
    weights.with_name("classes.txt").write_text("\n".join(LABELS))
    with pytest.raises(UsageError, match=r"3 labels in another order \("):
        load(teacher_plan(photos), path)


Change = Callable[[Recipe], None]


def set_student_size(recipe: Recipe) -> None:
    recipe.data.image_size = 64


CHANGES: dict[str, Change] = {
    "fit": lambda recipe: setattr(recipe.data, "fit", "pad"),
    "trained splits": lambda recipe: setattr(recipe.data, "train_splits", ["train", "val"]),
    "crop": lambda recipe: setattr(recipe.data.augment, "crop", 0.5),
    "flip": lambda recipe: setattr(recipe.data.augment, "flip", False),
    "cutout": lambda recipe: setattr(recipe.data.augment, "cutout", 0.1),
    "brightness": lambda recipe: setattr(recipe.data.augment, "brightness", 0.1),
    "randaugment": lambda recipe: setattr(recipe.data.augment, "randaugment", True),
    "seed of the views": lambda recipe: setattr(recipe.data.augment, "seed", 9),
    "seed": lambda recipe: setattr(recipe, "seed", 8),
    "precision": lambda recipe: setattr(recipe.train, "precision", "bf16"),
    "size": lambda recipe: setattr(recipe.teacher, "image_size", 64),
    "mean": lambda recipe: setattr(recipe.teacher, "weights_mean", (0.5, 0.5, 0.5)),
    "std": lambda recipe: setattr(recipe.teacher, "weights_std", (0.5, 0.5, 0.5)),
    "attention heads": lambda recipe: setattr(recipe.teacher.head, "heads", 4),  # type: ignore[union-attr]
    "more attention heads": lambda recipe: setattr(recipe.teacher.head, "heads", 8),  # type: ignore[union-attr]
}
NO_CHANGES: dict[str, Change] = {
    "student's size": set_student_size,
    "student": lambda recipe: setattr(recipe.student, "width", 0.35),
    "batch": lambda recipe: setattr(recipe.train, "batch_size", 4),
    "epochs": lambda recipe: setattr(recipe.train, "epochs", 9),
}


def key(recipe: Recipe, path: Path) -> str:
    plan = make_plan(recipe, Progress())
    return answers_key(load(plan, path), plan)


def test_all_that_decides_the_answers_is_in_the_key(photos: Path, weights: Path, tmp_path: Path) -> None:
    weights.with_name("classes.txt").write_text("\n".join(LABELS))
    keys = {"nothing": key(tiny_recipe(photos), weights)}
    for name, change in CHANGES.items():
        recipe = tiny_recipe(photos)
        change(recipe)
        keys[name] = key(recipe, weights)
    assert len(set(keys.values())) == len(keys)
    for name, change in NO_CHANGES.items():
        recipe = tiny_recipe(photos)
        change(recipe)
        assert key(recipe, weights) == keys["nothing"], name


def test_the_key_holds_the_weights_the_labels_and_the_files(photos: Path, weights: Path, tmp_path: Path) -> None:
    weights.with_name("classes.txt").write_text("\n".join(LABELS))
    keys = [key(tiny_recipe(photos), weights)]
    state = torch.load(weights, weights_only=True)["model"]
    state["head.bias"] = state["head.bias"] + 1
    torch.save({"model": state}, weights)
    keys.append(key(tiny_recipe(photos), weights))
    moved = shutil.copytree(photos, tmp_path / "moved")
    assert key(tiny_recipe(moved), weights) == keys[-1]
    table = moved / "labels.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    keys.append(key(tiny_recipe(moved), weights))
    with (moved / "images" / "001.png").open("ab") as file:
        file.write(b"more")
    keys.append(key(tiny_recipe(moved), weights))
    assert len(set(keys)) == 4


def test_heads_of_one_files_shapes_answer_otherwise(photos: Path, weights: Path) -> None:
    """Why the architecture is part of the key: one file fits all of these."""
    weights.with_name("classes.txt").write_text("\n".join(LABELS))
    image, logits = torch.rand(1, 3, 48, 48) * 255, []
    for heads in (8, 4, 2):
        plan = teacher_plan(photos)
        assert plan.recipe.teacher is not None
        spec = plan.recipe.teacher.head.model_copy(update={"heads": heads})
        teacher = load(replace(plan, recipe=with_head(plan.recipe, spec)), weights)
        logits.append(teacher.source.model.eval()(image))
    assert not torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[1], logits[2])


def with_head(recipe: Recipe, head: object) -> Recipe:
    assert recipe.teacher is not None
    return recipe.model_copy(update={"teacher": recipe.teacher.model_copy(update={"head": head})})


@pytest.mark.parametrize("section", ["student", "teacher"])
def test_initial_weights_of_a_model_with_other_labels_are_refused(section: str, photos: Path, tmp_path: Path) -> None:
    """As many as the data has: they would fit, and the head would begin with answers to other labels."""
    recipe = tiny_recipe(photos)
    path = tmp_path / "model.safetensors"
    spec = getattr(recipe, section).model_copy(update={"weights": str(path)})
    state = build_model(spec.model_copy(update={"weights": "none"}), 3, recipe.data.image_size).state_dict()
    plan = make_plan(recipe, Progress())
    save_file(state, path, {"classes": "\n".join(LABELS)})
    build_initial(spec, plan)
    save_file(state, path, {"classes": "green\nred\nblue"})
    with pytest.raises(
        UsageError, match=rf"^{section}\.weights .* labels green, red, blue, expected .* \(red, green, b"
    ):
        build_initial(spec, plan)
