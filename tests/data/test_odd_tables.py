"""Tables and JSON that could be read wrongly without a word."""

import json
import os
import sys
from pathlib import Path

import pytest
from make_layouts import write_image
from PIL import Image

from mlkdc.data import open_data
from mlkdc.errors import UsageError
from mlkdc.resources import write_text
from mlkdc.types import TaggedImages

IMAGES = 24


def folder_of(tmp_path: Path, file: str, text: str) -> Path:
    for number in range(IMAGES):
        write_image(tmp_path / f"{number}.png", number)
    (tmp_path / file).write_text(text, encoding="utf-8")
    return tmp_path


def table(tmp_path: Path, row: str, header: str = "image,labels", file: str = "labels.csv") -> Path:
    rows = [row.replace("#", str(number)) for number in range(IMAGES)]
    return folder_of(tmp_path, file, "\n".join([header, *rows]))


def first(data: TaggedImages) -> list[str]:
    return [data.classes[label] for label in data.samples[0].labels]


def test_an_object_of_flags_gives_those_that_are_set(tmp_path: Path) -> None:
    data = open_data(str(table(tmp_path, '#.png,"{""cat"": 1, ""dog"": 0}"')))
    assert (data.classes, first(data)) == (("cat",), ["cat"])
    (tmp_path / "labels.csv").write_text('image,labels\n0.png,"{""cat"": 0.9}"\n', encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"labels\.csv row 2: expected a list of labels, or an object of labels with 0"
    ):
        open_data(str(tmp_path))


def test_a_list_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    root = folder_of(tmp_path, "labels.csv", f"image,labels\n0.png,{'[' * 50_000 + ']' * 50_000}\n1.png,[cat]\n")
    with pytest.raises(UsageError, match=r"labels\.csv row 2: expected a list of labels, got .*, nested too deeply"):
        open_data(str(root), split=False)


@pytest.mark.parametrize(("cell", "label"), [("[" + "-" * 50_000 + "1]", "-" * 50_000 + "1"), ("{[1]: 2}", "[1]: 2")])
def test_what_python_cannot_evaluate_is_text(cell: str, label: str, tmp_path: Path) -> None:
    root = folder_of(tmp_path, "labels.csv", f"image,labels\n0.png,{cell}\n1.png,[cat]\n")
    assert first(open_data(str(root), split=False)) == [label]


def test_two_columns_of_one_name_are_joined(tmp_path: Path) -> None:
    assert first(open_data(str(table(tmp_path, "#.png,cat,dog", "image,labels,labels")))) == ["cat", "dog"]


def test_a_table_of_regions_is_not_taken_for_flags(tmp_path: Path) -> None:
    header = "filename,file_size,region_count,region_id,region_shape_attributes,region_attributes"
    with pytest.raises(UsageError, match="VGG Image Annotator's table of regions; export the project as COCO"):
        open_data(str(table(tmp_path, "#.png,12,1,0,{},{}", header)))


def test_zero_bytes_are_no_part_of_a_label(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="row 2: holds a zero byte"):
        open_data(str(table(tmp_path, "#.png,c\0t")))


def test_a_list_of_classes_that_fits_no_label(tmp_path: Path) -> None:
    (table(tmp_path, "#.png,cat") / "classes.txt").write_text("0 cat\n1 dog\n")
    with pytest.raises(UsageError, match=r"none of its labels \(cat\) is in classes.txt next to it \(0 cat, 1 dog\)"):
        open_data(str(tmp_path))


def test_labels_that_may_mean_no_label_are_a_problem(tmp_path: Path) -> None:
    rows = [f"{number}.png,{('cat', 'None')[number % 2]}" for number in range(IMAGES)]
    data = open_data(str(folder_of(tmp_path, "labels.csv", "\n".join(["image,labels", *rows]))))
    assert [problem.where for problem in data.problems if problem.kind == "label that may be none"] == ["None"]


def test_the_query_of_an_address_is_no_part_of_a_name(tmp_path: Path) -> None:
    data = open_data(str(table(tmp_path, "#.png?width=3,cat")))
    assert all(sample.image.is_file() for sample in data.samples)


def test_a_list_of_records(tmp_path: Path) -> None:
    records = [{"image": f"{number}.png", "labels": ["cat", "dog"][: 1 + number % 2]} for number in range(IMAGES)]
    data = open_data(str(folder_of(tmp_path, "records.json", json.dumps(records, indent=1))))
    assert (data.layout, data.classes, len(data.samples)) == ("csv", ("cat", "dog"), IMAGES)
    assert open_data(str(tmp_path / "records.json")).classes == ("cat", "dog")
    (tmp_path / "records.json").write_text(json.dumps([*records, "x"]))
    with pytest.raises(UsageError, match="entry 25: expected a JSON object with a key 'image', got 'x'"):
        open_data(str(tmp_path))


def test_lines_with_images_as_objects_and_keys_that_are_there_twice(tmp_path: Path) -> None:
    lines = [
        json.dumps({"image": {"path": f"{at}.png"}, "labels": {"cat": True, "dog": False}}) for at in range(IMAGES)
    ]
    data = open_data(str(folder_of(tmp_path, "metadata.jsonl", "\n".join(lines))))
    assert (data.samples[0].image.is_file(), first(data)) == (True, ["cat"])
    (tmp_path / "metadata.jsonl").write_text('{"image": "0.png", "labels": ["a"], "labels": ["b"]}\n')
    with pytest.raises(UsageError, match="a key is there twice, of image, labels, labels"):
        open_data(str(tmp_path / "metadata.jsonl"))
    with pytest.raises(UsageError, match=r"metadata\.jsonl: .*a key is there twice"):
        open_data(str(tmp_path))


def coco(tmp_path: Path, annotations: list[dict[str, object]]) -> Path:
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(IMAGES)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    return folder_of(tmp_path, "all.json", json.dumps(content))


def test_coco_without_annotations_and_with_boxes_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none of 24 images has an annotation"):
        open_data(str(coco(tmp_path, [])))
    with pytest.raises(UsageError, match=r"expected \[left, top, width, height\] under 'bbox', got \[nan"):
        open_data(str(coco(tmp_path, [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [float("nan"), 1, 2, 3]}])))


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_in_circles_are_followed_once(tmp_path: Path) -> None:
    rows = [f"gone/{number}.png,cat" for number in range(IMAGES)]
    root = folder_of(tmp_path / "data", "labels.csv", "\n".join(["image,labels", *rows]))
    (root / "loop").symlink_to(root)
    data = open_data(str(root))
    assert all(sample.image.parent == root for sample in data.samples)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are text")
def test_file_names_that_are_no_text(tmp_path: Path) -> None:
    rows = [f"{number}.png,cat" for number in range(IMAGES)]
    root = folder_of(tmp_path / "data", "labels.csv", "\n".join(["image,labels", *rows, "caf\u00e9.png,dog"]))
    Image.new("RGB", (8, 8)).save(os.fsdecode(os.fsencode(root) + b"/caf\xe9.png"))
    data = open_data(str(root))
    assert all(sample.image.is_file() for sample in data.samples)
    write_text(tmp_path / "command.txt", f"mlkdc data {data.samples[-1].image}")
    assert (tmp_path / "command.txt").read_text(encoding="utf-8").endswith(r"caf\udce9.png")
    for name in (b"caf\xe9", b"dog"):
        folder = os.fsdecode(os.fsencode(tmp_path / "folders") + b"/" + name)
        write_image(Path(folder) / "0.png", len(name))
    with pytest.raises(UsageError, match=r"a class is called 'caf\\udce9', which is not UTF-8; rename it"):
        open_data(str(tmp_path / "folders"), layout="folders", split=False)
