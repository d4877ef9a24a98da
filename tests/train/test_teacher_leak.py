"""A teacher that was trained on images that the student is scored on."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.torch import save_file
from samples import write_photos
from tiny_training import tiny_recipe

from mlkdc.data import open_data
from mlkdc.data.listing import list_images
from mlkdc.losses import make_objective
from mlkdc.models import build_model
from mlkdc.records.results import TeacherFacts
from mlkdc.records.run import Run
from mlkdc.train.plan import Plan
from mlkdc.train.teacher import choose_teacher, images_trained_on, load_teacher


def begun_run(folder: Path, photos: Path) -> Run:
    """A run folder with its recipe and its images."""
    folder.mkdir()
    data = open_data(str(photos))
    run = Run(folder)
    run.start(tiny_recipe(photos), data.classes, "")
    list_images(data).save(folder)
    return run


def plan_of(photos: Path) -> Plan:
    recipe = tiny_recipe(photos)
    return Plan(recipe, make_objective(recipe.distill), open_data(str(photos)))


def test_images_of_val_and_test_are_counted_also_under_other_names(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    teacher = begun_run(tmp_path / "teacher", photos)
    assert images_trained_on(teacher, plan_of(photos)) == {}
    # The same images under other names, each in the split of its neighbor.
    other = tmp_path / "other"
    shutil.copytree(photos, other)
    header, *rows = (photos / "labels.csv").read_text(encoding="utf-8").splitlines()
    was = {row.split(",")[0]: row.split(",")[2] for row in rows}
    moved = {}
    lines = [header]
    for row, split in zip(rows, np.roll([row.split(",")[2] for row in rows], 1).tolist(), strict=True):
        name, labels, _ = row.split(",")
        moved[name] = split
        (other / name).rename(other / name.replace("images/", "images/photo-"))
        lines.append(f"{name.replace('images/', 'images/photo-')},{labels},{split}")
    (other / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    expected = {}
    for split in ("val", "test"):
        count = sum(was[name] == "train" for name in was if moved[name] == split)
        if count:
            expected[split] = count
    assert expected
    assert images_trained_on(teacher, plan_of(other)) == expected


def test_a_leak_is_said_in_a_sentence() -> None:
    facts = TeacherFacts(model="resnet10t", image_size=32, run="runs/t", trained_on={"val": 1, "test": 12})
    assert facts.leak is not None
    assert facts.leak.startswith("the teacher in runs/t was trained on 1 val image and 12 test images of this data")
    assert TeacherFacts(model="resnet10t", image_size=32, run="runs/t").leak is None


def test_a_weights_file_in_a_run_folder_is_known_by_its_list(photos: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(photos)
    assert recipe.teacher is not None
    begun = begun_run(tmp_path / "teacher", photos)
    model = build_model(recipe.teacher, 3, 48)
    save_file(model.state_dict(), begun.weights, metadata={"classes": "red\ngreen\nblue"})
    copied = tmp_path / "copied.safetensors"
    shutil.copy(begun.weights, copied)
    data = open_data(str(photos))
    # What the teacher was trained on is what the student is tested on.
    swapped = {"train": "test", "test": "train", "val": "val"}
    samples = tuple(replace(sample, split=swapped[sample.split]) for sample in data.samples)
    plan = Plan(recipe, make_objective(recipe.distill), replace(data, samples=samples))
    known = load_teacher(str(begun.weights), recipe.teacher, plan).facts
    assert known.trained_on == {"test": len(data.split("train"))}
    (begun.path / "recipe.yaml").unlink()
    assert load_teacher(str(begun.weights), recipe.teacher, plan).facts.trained_on == known.trained_on
    assert load_teacher(str(copied), recipe.teacher, plan).facts.trained_on == {}


def test_the_weights_of_a_finished_run_are_that_run(photos: Path, tmp_path: Path) -> None:
    teacher = begun_run(tmp_path / "teacher", photos)
    teacher.weights.write_bytes(b"not read yet")
    (teacher.path / "results.json").write_text("{}", encoding="utf-8")
    recipe = choose_teacher(tiny_recipe(photos), str(teacher.weights))
    assert recipe.teacher is not None
    assert recipe.teacher.source == str(teacher.path)
    assert (recipe.teacher.model, recipe.teacher.width) == ("mobilenetv2", 0.25)
