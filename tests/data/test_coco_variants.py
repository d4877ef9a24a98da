"""COCO JSON as tools and merges of their exports leave it: ids of any type, names given twice, tags without boxes."""

import json
from pathlib import Path

import pytest
from make_layouts import write_image

from mlkdc.data import open_data
from mlkdc.errors import UsageError
from mlkdc.types import TaggedImages

Entry = dict[str, object]


def content(**changes: list[Entry]) -> dict[str, list[Entry]]:
    """Two images: a cat and a dog, a dog."""
    boxes = [(1, 1), (1, 2), (2, 2)]
    return {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "annotations": [
            {"image_id": image, "category_id": category, "bbox": [0, 0, 2, 3]} for image, category in boxes
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        **changes,
    }


def write(root: Path, values: object, name: str = "annotations/instances_default.json") -> Path:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(values), encoding="utf-8")
    for image in ("a.png", "b.png"):
        write_image(root / "images/default" / image)
    return root


def labels(data: TaggedImages) -> dict[str, set[str]]:
    return {sample.image.name: {data.classes[label] for label in sample.labels} for sample in data.samples}


def read(root: Path, values: object) -> TaggedImages:
    return open_data(str(write(root, values)), split=False)


def refused(root: Path, values: object) -> str:
    with pytest.raises(UsageError) as caught:
        read(root, values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("image_id", "category_id"), [(str, int), (int, str), (str, str), (float, int), (lambda at: f"{at}.0", float)]
)
def test_ids_match_whatever_their_type(image_id, category_id, tmp_path: Path):
    values = content()
    for item in values["annotations"]:
        item["image_id"] = image_id(item["image_id"])
    for item in values["categories"]:
        item["id"] = category_id(item["id"])
    assert labels(read(tmp_path, values)) == {"a.png": {"cat", "dog"}, "b.png": {"dog"}}


def test_ids_that_are_words_and_ids_out_of_order(tmp_path: Path):
    values = content(categories=[{"id": 10, "name": "cat"}, {"id": 9, "name": "dog"}, {"id": "x", "name": "ox"}])
    # More digits than Python reads as a number.
    values["categories"].append({"id": "8" * 5000, "name": "hen"})
    for item, category in zip(values["annotations"], (10, 9, "x"), strict=True):
        item["category_id"] = category
    data = read(tmp_path, values)
    assert data.classes == ("dog", "cat", "hen", "ox")
    assert labels(data) == {"a.png": {"cat", "dog"}, "b.png": {"ox"}}


def test_two_categories_of_one_name_are_one_label(tmp_path: Path):
    values = content(categories=[{"id": 0, "name": "ox"}, {"id": 1, "name": "cat"}, {"id": 2, "name": " cat"}])
    data = read(tmp_path, values)
    assert data.classes == ("ox", "cat")
    assert labels(data) == {"a.png": {"cat"}, "b.png": {"cat"}}
    assert {box.label for sample in data.samples for box in sample.boxes} == {1}
    assert "categories 1 and 2 are both called 'cat': one label" in data.notes


def test_the_category_above_all_others_is_no_label(tmp_path: Path):
    above = {"id": 0, "name": "animals", "supercategory": "none"}
    categories: list[Entry] = [
        above,
        {"id": 1, "name": "cat", "supercategory": "animals"},
        {"id": 2, "name": "dog", "supercategory": "animals"},
    ]
    assert read(tmp_path, content(categories=categories)).classes == ("cat", "dog")
    values = content(categories=categories)
    values["annotations"].append({"image_id": 2, "category_id": 0})
    assert read(tmp_path, values).classes == ("animals", "cat", "dog")


def test_one_category_id_twice(tmp_path: Path):
    categories = [*content()["categories"], {"id": "1", "name": "kitten"}]
    assert "category id 1 stands for 'cat' and 'kitten'" in refused(tmp_path, content(categories=categories))


def test_two_images_with_one_id(tmp_path: Path):
    images: list[Entry] = [{"id": 1, "file_name": "a.png"}, {"id": 1.0, "file_name": "b.png"}]
    assert "image id 1 stands for a.png and b.png" in refused(tmp_path, content(images=images))


def test_one_file_with_two_ids_is_one_image(tmp_path: Path):
    images = [*content()["images"], {"id": 3, "file_name": "b.png"}]
    values = content(images=images)
    values["annotations"].append({"image_id": 3, "category_id": 1})
    assert labels(read(tmp_path, values)) == {"a.png": {"cat", "dog"}, "b.png": {"cat", "dog"}}


def test_boxes_are_optional(tmp_path: Path):
    values = content()
    del values["annotations"][0]["bbox"]
    values["annotations"][1]["bbox"] = None
    values["annotations"][2]["bbox"] = []
    data = read(tmp_path, values)
    assert labels(data) == {"a.png": {"cat", "dog"}, "b.png": {"dog"}}
    assert not any(sample.boxes for sample in data.samples)
    values["annotations"][0]["bbox"] = [1, 2, "3"]
    assert "annotations[0]: expected [left, top, width, height]" in refused(tmp_path, values)


def test_names_that_are_numbers_or_on_two_lines(tmp_path: Path):
    data = read(tmp_path, content(categories=[{"id": 1, "name": 7}, {"id": 2, "name": "dog\nhound"}]))
    assert data.classes == ("7", "dog hound")


@pytest.mark.parametrize(
    ("key", "item", "expected"),
    [
        ("categories", {"id": 3, "name": None}, "categories[2]: expected a name under 'name', got None"),
        ("categories", {"id": None, "name": "x"}, "categories[2]: expected a number or a string under 'id', got None"),
        ("categories", "cat", "categories[2]: expected an object, got 'cat'"),
        ("images", {"id": 3}, "images[2]: expected a path under 'file_name', got None"),
        ("images", {"id": [3], "file_name": "c.png"}, "images[2]: expected a number or a string under 'id', got [3]"),
        ("annotations", {"category_id": 1}, "annotations[3]: expected a number or a string under 'image_id', got None"),
        ("annotations", {"image_id": 1, "category_id": {}}, "annotations[3]: expected a number or a string"),
    ],
)
def test_entries_that_lack_something(key: str, item: Entry, expected: str, tmp_path: Path):
    values = content()
    values[key].append(item)
    assert expected in refused(tmp_path, values)


def test_a_file_alone_is_split_here(tmp_path: Path):
    names = [f"{number}.png" for number in range(30)]
    for name in names:
        write_image(tmp_path / "train" / name)
    values = {
        "images": [{"id": at, "file_name": name} for at, name in enumerate(names)],
        "annotations": [{"image_id": at, "category_id": at % 2} for at in range(30)],
        "categories": [{"id": 0, "name": "x"}, {"id": 1, "name": "y"}],
    }
    write(tmp_path, values, "annotations/instances_train.json")
    data = open_data(str(tmp_path))
    assert data.splits == ("train", "val", "test")
    assert data.split_from.startswith("made here")


def test_roboflow_and_label_studio(tmp_path: Path):
    for split in ("train", "valid"):
        folder = tmp_path / "roboflow" / split
        write(folder, content(), "_annotations.coco.json")
        for name in ("a.png", "b.png"):
            (folder / "images/default" / name).replace(folder / name)
    data = open_data(str(tmp_path / "roboflow"))
    assert [sample.split for sample in data.samples] == ["train", "train", "val", "val"]
    assert all(sample.image.is_file() for sample in data.samples)
    images: list[Entry] = [{"id": 1, "file_name": "images\\default\\a.png"}, {"id": 2, "file_name": "../up/b.png"}]
    folder = write(tmp_path / "studio", content(images=images), "result.json")
    data = open_data(str(folder), split=False)
    assert labels(data) == {"a.png": {"cat", "dog"}, "b.png": {"dog"}}
