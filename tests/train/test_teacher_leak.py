"""A teacher that was trained on images that the student is scored on."""

import shutil
from pathlib import Path

import numpy as np
from samples import write_photos
from tiny_training import tiny_recipe

from mlkdc.data import open_data
from mlkdc.data.listing import list_images
from mlkdc.losses import make_objective
from mlkdc.records.results import TeacherFacts
from mlkdc.records.run import Run
from mlkdc.train.plan import Plan
from mlkdc.train.teacher import images_trained_on


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
