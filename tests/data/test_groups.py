"""One image is never in two splits, however often it is stored or listed."""

import shutil
from pathlib import Path

from make_layouts import many_rows, write_image

from mlkdc.data import open_data
from mlkdc.data.groups import same_content


def test_copies_share_a_split(tmp_path: Path):
    rows = ["image,labels"]
    for number in range(40):
        first = write_image(tmp_path / f"{number:02d}.png")
        shutil.copy(first, tmp_path / f"copy of {number:02d}.png")
        rows += [f"{first.name},{'abc'[number % 3]}", f"copy of {first.name},{'abc'[number % 3]}"]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    data = open_data(str(tmp_path))
    assert len(data.samples) == 80
    assert len(set(data.splits)) == 3
    splits = {sample.image.name: sample.split for sample in data.samples}
    for number in range(40):
        assert splits[f"{number:02d}.png"] == splits[f"copy of {number:02d}.png"]


def test_same_content_is_found_behind_a_common_beginning(tmp_path: Path):
    beginning = b"x" * 100_000
    contents = {"a": beginning + b"1", "b": beginning + b"2", "c": beginning + b"1", "d": b"other"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    groups = same_content([tmp_path / name for name in (*contents, "missing")])
    assert groups == [[tmp_path / "a", tmp_path / "c"]]


def test_rows_of_one_image_are_one_image_with_all_their_labels(tmp_path: Path):
    table = many_rows(tmp_path, "image,labels", ["cat", "dog"]) / "labels.csv"
    table.write_text(table.read_text(encoding="utf-8") + "0.png,bird\n0.png,dog\n", encoding="utf-8")
    data = open_data(str(tmp_path))
    [sample] = [sample for sample in data.samples if sample.image.name == "0.png"]
    assert [data.classes[label] for label in sample.labels] == ["bird", "cat", "dog"]
    assert sample.labels == tuple(sorted(sample.labels))


def test_images_that_are_all_different_keep_their_split(tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", ["a", "b"])
    data = open_data(str(folder))
    assert len(data.samples) == len({sample.image for sample in data.samples}) == 24
