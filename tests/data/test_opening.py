"""What a training says of its data before it begins, and what it refuses."""

import os
import shlex
from pathlib import Path

import pytest
from make_layouts import csv_folder, many_rows

from mlkdc.data import open_data
from mlkdc.data.check import check_trainable, inspect
from mlkdc.data.files import images_below
from mlkdc.data.summary import headline, listed, opening
from mlkdc.errors import UsageError
from mlkdc.types import Problem

GOOD = "image,labels,split\na.png,x|y,train\nb.png,x,train\nc.png,y|x,val\nd.png,x|y,test\n"


def test_the_headline_counts_images_labels_and_problems(tmp_path: Path):
    data = open_data(str(csv_folder(tmp_path / "photos", GOOD)))
    counts = "photos (csv): 4 images (train 2, val 1, test 1), 2 labels, 1.75 per image"
    assert headline(data, []) == f"{counts}; no problems"
    problem = Problem("missing file", "a.png")
    assert headline(data, [problem]) == f"{counts}; 1 problem, listed by `mlkdc data {tmp_path / 'photos'}`"


def test_the_command_can_be_pasted_and_reads_alike(tmp_path: Path):
    data = open_data(str(csv_folder(tmp_path / "my photos", GOOD)))
    line = headline(data, [Problem("missing file", "a.png")], ["--separator", "|"])
    command = line.partition("`")[2].rstrip("`")
    assert shlex.split(command) == ["mlkdc", "data", str(tmp_path / "my photos"), "--separator", "|"]


def test_a_label_of_every_image_is_named_for_each_split(tmp_path: Path):
    rows = [f"{split}{number}.png,{{}},{split}\n" for split in ("train", "val", "test") for number in range(12)]
    filled = [row.format("x|y" if number % 12 else "x") for number, row in enumerate(rows)]
    filled[1] = rows[1].format("y")
    data = open_data(str(csv_folder(tmp_path / "photos", "image,labels,split\n" + "".join(filled))))
    named = [str(problem) for problem in inspect(data).problems if problem.kind == "label without a negative"]
    said = "label without a negative: x (in {}: whatever a model answers, its AP there is 100)"
    assert named == [said.format("val"), said.format("test")]
    assert set(named) < set(opening(data, []))


def test_the_opening_has_notes_and_what_is_grave(tmp_path: Path):
    folder = csv_folder(tmp_path / "photos", GOOD.replace("c.png,y|x", "c.png,").replace("|", ";"))
    (folder / "d.png").write_bytes((folder / "a.png").read_bytes())
    lines = opening(open_data(str(folder)), [Problem("missing file", "b.png")])
    assert "4 problems" in lines[0]
    assert [line.partition(" (")[0] for line in lines[1:]] == [
        "labels.csv, column 'labels': labels are joined by semicolons, such as 'x;y'",
        f"duplicate image across splits: {folder / 'a.png'}",
        "split without labels: val",
    ]


def test_problems_of_a_kind_are_summed_up():
    problems = [Problem("a", str(number)) for number in range(12)] + [Problem("b", "x")]
    lines = listed(problems)
    assert lines == [*(f"a: {number}" for number in range(10)), "a: 2 more", "b: x"]


def test_nothing_to_learn_is_refused(tmp_path: Path):
    text = GOOD.replace("a.png,x|y", "a.png,").replace("b.png,x", "b.png,")
    data = open_data(str(csv_folder(tmp_path / "photos", text)))
    with pytest.raises(UsageError, match="no image of train has a label"):
        check_trainable(data, ("train",), 224)
    check_trainable(data, ("train", "val"), 224)


def test_a_split_without_labels_is_refused_before_the_training(tmp_path: Path):
    """It could not be scored, and all that was trained would be lost."""
    text = "image,labels,split\na.png,x,train\nb.png,x,train\nc.png,x,val\nd.png,,test\n"
    data = open_data(str(csv_folder(tmp_path / "photos", text)))
    with pytest.raises(UsageError, match="no image of test has a label, so nothing can be scored on it"):
        check_trainable(data, ("train",), 224)


def test_one_small_image_has_no_statistics(tmp_path: Path):
    data = open_data(str(csv_folder(tmp_path / "photos", "image,labels,split\na.png,x,train\nb.png,x,test\n")))
    with pytest.raises(UsageError, match=r"1 image of train at 32 pixels .*data\.image_size=64"):
        check_trainable(data, ("train",), 32)
    check_trainable(data, ("train",), 64)


@pytest.mark.parametrize(
    ("splits", "kinds"),
    [
        (["train"], ["no val or test split"]),
        (["val"], ["no train split"]),
        (["train", "test"], ["no val split"]),
        (["train", "val"], []),
        (["train", "val", "test"], []),
    ],
)
def test_splits_that_lack_are_named(splits: list[str], kinds: list[str], tmp_path: Path):
    rows = "".join(f"{split}1.png,x,{split}\n{split}2.png,y,{split}\n" for split in splits)
    data = open_data(str(csv_folder(tmp_path / "photos", f"image,labels,split\n{rows}")))
    assert [problem.kind for problem in inspect(data).problems] == kinds


def test_too_few_images_are_shown_and_not_trained_on(tmp_path: Path):
    folder = csv_folder(tmp_path / "photos", "image,labels\na.png,x\nb.png,y\n")
    with pytest.raises(UsageError, match=r"too few to split.*: 2 images;"):
        open_data(str(folder))
    data = open_data(str(folder), few=True)
    assert data.splits == ("test",)
    assert data.split_from == "none: fewer than 20 images are not split"
    assert open_data(str(many_rows(tmp_path / "more", "image,labels", ["x"])), few=True).splits[0] == "train"


def test_a_pipe_with_an_images_name_is_no_image(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"")
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to(tmp_path / "gone.png")
    # One that leads nowhere is reported by whoever opens it.
    assert [path.name for path in images_below(tmp_path)] == ["a.png", "c.png"]
