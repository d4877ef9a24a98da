"""YOLO's classes by their numbers, whatever the order and kind of these, and label files next to the images."""

from pathlib import Path

import pytest
from make_layouts import write_image

from mlkdc.data import open_data
from mlkdc.errors import UsageError

BOX = "0.5 0.5 0.2 0.2"
IMAGES = 24


def write(folder: Path, numbers: tuple[int, ...], labels: str = "labels", images: str = "images") -> Path:
    """Images that take turns in which class they are of."""
    (folder / labels).mkdir(parents=True, exist_ok=True)
    for at in range(IMAGES):
        write_image(folder / images / f"{at}.png")
        (folder / labels / f"{at}.txt").write_text(f"{numbers[at % len(numbers)]} {BOX}\n", encoding="utf-8")
    return folder


def names_of(folder: Path) -> dict[str, str]:
    """The only label of each image."""
    data = open_data(str(folder))
    assert data.layout == "yolo"
    return {sample.image.stem: data.classes[sample.labels[0]] for sample in data.samples}


@pytest.mark.parametrize(
    "names",
    [
        "{1: cat, 2: dog, 10: cow}",
        "{'10': cow, '1': cat, '2': dog}",
        "{10: cow, '1': cat, 2: dog}",
    ],
    ids=["from 1", "as text", "both"],
)
def test_names_are_those_of_the_numbers(names: str, tmp_path: Path):
    write(tmp_path, (1, 2, 10))
    (tmp_path / "data.yaml").write_text(f"names: {names}\n", encoding="utf-8")
    found = names_of(tmp_path)
    assert (found["0"], found["1"], found["2"]) == ("cat", "dog", "cow")
    assert open_data(str(tmp_path)).classes == ("cat", "dog", "cow")


def test_names_are_text_whatever_yaml_makes_of_them(tmp_path: Path):
    write(tmp_path, (0, 1, 2))
    (tmp_path / "data.yaml").write_text("names: [yes, off, 1_0]\n", encoding="utf-8")
    assert open_data(str(tmp_path)).classes == ("yes", "off", "1_0")


def test_a_name_without_a_number_is_refused(tmp_path: Path):
    write(tmp_path, (0, 1))
    (tmp_path / "data.yaml").write_text("names: {cat: 0, dog: 1}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="expected numbers and names of classes under 'names', got cat: 0"):
        open_data(str(tmp_path))


def test_names_that_are_not_there_or_nested_without_end_are_refused(tmp_path: Path):
    write(tmp_path, (0, 1))
    (tmp_path / "classes.txt").write_text("\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"classes\.txt is empty; expected the classes, one a line"):
        open_data(str(tmp_path))
    (tmp_path / "data.yaml").write_text("names: " + "[" * 3000, encoding="utf-8")
    with pytest.raises(UsageError, match=r"data\.yaml: nested too deeply; expected the list of the classes"):
        open_data(str(tmp_path))


@pytest.mark.parametrize("folder", [".", "images"])
def test_label_files_next_to_the_images(folder: str, tmp_path: Path):
    write(tmp_path, (0, 1), labels=folder, images=folder)
    (tmp_path / folder / "classes.txt").write_text("cat\ndog\n", encoding="utf-8")
    found = names_of(tmp_path)
    assert (len(found), found["0"], found["1"]) == (IMAGES, "cat", "dog")


def test_label_files_next_to_the_images_of_splits(tmp_path: Path):
    for split in ("train", "valid"):
        write(tmp_path, (0, 1), labels=split, images=split)
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\n", encoding="utf-8")
    assert open_data(str(tmp_path)).splits == ("train", "val")


def test_label_files_elsewhere_are_named(tmp_path: Path):
    write(tmp_path, (0, 1), labels="txt", images="photos")
    with pytest.raises(UsageError, match=r"a folder of 24 images without labels.*txt/.*: a label file of YOLO"):
        open_data(str(tmp_path))


def test_a_number_longer_than_python_reads_is_refused(tmp_path: Path):
    write(tmp_path, (0, 1))
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\n", encoding="utf-8")
    long = "9" * 5000
    (tmp_path / "labels" / "3.txt").write_text(f"{long} {BOX}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"3\.txt: expected lines that begin with a class, 0 to 1; got '999"):
        open_data(str(tmp_path))
    (tmp_path / "data.yaml").write_text(f"names:\n  ? {long}\n  : cat\n", encoding="utf-8")
    with pytest.raises(UsageError, match="expected numbers and names of classes under 'names', got 999"):
        open_data(str(tmp_path))


def test_of_several_lists_of_classes_the_named_one_counts(tmp_path: Path):
    """As where Ultralytics left its args.yaml next to the data."""
    write(tmp_path, (0, 1))
    (tmp_path / "args.yaml").write_text("names: [old, older]\n", encoding="utf-8")
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\n", encoding="utf-8")
    assert open_data(str(tmp_path / "data.yaml")).classes == ("cat", "dog")
    with pytest.raises(
        UsageError, match=r"args\.yaml and data\.yaml name other classes; say which: --data .*data\.yaml"
    ):
        open_data(str(tmp_path))
    (tmp_path / "args.yaml").write_text("names: {0: cat, 1: dog}\n", encoding="utf-8")
    assert open_data(str(tmp_path)).classes == ("cat", "dog")


@pytest.mark.parametrize("name", ["classes.txt", "obj.names"])
def test_a_blank_line_among_the_classes_is_refused_and_those_at_the_end_are_not(name: str, tmp_path: Path):
    write(tmp_path, (0, 1, 2))
    (tmp_path / name).write_text("cat\n \ndog\ncow\n", encoding="utf-8")
    said = rf"{name}: line 2 is blank, and a class has the number of its line; name the class .*, or delete the line$"
    with pytest.raises(UsageError, match=said):
        open_data(str(tmp_path))
    (tmp_path / name).write_text("\ncat\ndog\ncow\n", encoding="utf-8")
    with pytest.raises(UsageError, match="line 1 is blank"):
        open_data(str(tmp_path))
    (tmp_path / name).write_text("cat\ndog\ncow\n\n \n", encoding="utf-8")
    assert open_data(str(tmp_path)).classes == ("cat", "dog", "cow")
