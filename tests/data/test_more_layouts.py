"""YOLO, image lists, Label Studio and folders as labels: what tools write, and what it must not be taken for."""

import json
from pathlib import Path

import pytest
from make_layouts import make_csv, many_rows, write_image

from mlkdc.data import LAYOUTS, open_data
from mlkdc.errors import UsageError
from mlkdc.types import TaggedImages

BOX = "0.5 0.5 0.2 0.2"


def tags(data: TaggedImages) -> dict[str, tuple[str, set[str]]]:
    return {
        sample.image.name: (sample.split, {data.classes[label] for label in sample.labels}) for sample in data.samples
    }


def refused(path: Path, **options: str) -> str:
    with pytest.raises(UsageError) as caught:
        open_data(str(path), **options)
    return str(caught.value)


def yolo_image(images: Path, labels: Path, name: str, text: str | None) -> None:
    write_image(images / f"{name}.png")
    labels.mkdir(parents=True, exist_ok=True)
    if text is not None:
        (labels / f"{name}.txt").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("order", ["images/{}", "{}/images"], ids=["ultralytics", "roboflow"])
@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}"])
def test_yolo_with_splits(order: str, names: str, tmp_path: Path):
    for split in ("train", "valid"):
        images = tmp_path / order.format(split)
        labels = Path(str(images).replace("images", "labels"))
        yolo_image(images, labels, f"{split}a", f"1 {BOX}\n0 {BOX}\n1 {BOX}\n")
        yolo_image(images, labels, f"{split}b", "")
        yolo_image(images, labels, f"{split}c", None)
    (tmp_path / "data.yaml").write_text(f"nc: 2\nnames: {names}\n", encoding="utf-8")
    data = open_data(str(tmp_path))
    assert (data.layout, data.classes) == ("yolo", ("cat", "dog"))
    assert open_data(str(tmp_path / "data.yaml")).samples == data.samples
    assert tags(data) == {
        "traina.png": ("train", {"cat", "dog"}),
        "trainb.png": ("train", set()),
        "trainc.png": ("train", set()),
        "valida.png": ("val", {"cat", "dog"}),
        "validb.png": ("val", set()),
        "validc.png": ("val", set()),
    }


def test_yolo_of_cvat_and_without_splits(tmp_path: Path):
    for folder in ("cvat/obj_train_data", "flat"):
        images = tmp_path / folder
        labels = images
        if folder == "flat":
            images, labels = images / "images", images / "labels"
        for number in range(24):
            yolo_image(images, labels, str(number), f"{number % 2} {BOX}\n")
    (tmp_path / "cvat/obj.names").write_text("cat\ndog\n", encoding="utf-8")
    assert open_data(str(tmp_path / "cvat")).splits == ("train", "val", "test")
    assert "put data.yaml with 'names' or classes.txt there" in refused(tmp_path / "flat")
    (tmp_path / "flat/classes.txt").write_text("cat\n", encoding="utf-8")
    assert "expected lines that begin with a class, 0 to 0" in refused(tmp_path / "flat")
    (tmp_path / "flat/classes.txt").write_text("cat\ndog\n", encoding="utf-8")
    assert {sample.labels for sample in open_data(str(tmp_path / "flat")).samples} == {(0,), (1,)}


def test_image_lists(tmp_path: Path):
    for name in ("a b.png", "b.png", "c.png"):
        write_image(tmp_path / "images" / name)
    (tmp_path / "train.txt").write_text("./data/images/a b.png 1 0 1\n./data/images/b.png 0 0 0\n", encoding="utf-8")
    (tmp_path / "test.txt").write_text("./data/images/c.png 0 -1 1\n", encoding="utf-8")
    data = open_data(str(tmp_path))
    assert data.layout == "imagelist"
    assert tags(data) == {"a b.png": ("train", {"0", "2"}), "b.png": ("train", set()), "c.png": ("test", {"2"})}
    assert all(sample.image.is_file() for sample in data.samples)
    (tmp_path / "classes.txt").write_text("sky\nsea\ntree\n", encoding="utf-8")
    assert open_data(str(tmp_path)).classes == ("sky", "sea", "tree")
    (tmp_path / "classes.txt").write_text("sky\nsea\n", encoding="utf-8")
    assert "expected 3 classes, one for each flag; got 2" in refused(tmp_path)
    (tmp_path / "test.txt").write_text("./data/images/c.png 0 -1 1\nc.png 1\n", encoding="utf-8")
    assert "test.txt row 2: expected an image and 3 flags" in refused(tmp_path)


def test_a_list_with_a_header_as_celebas(tmp_path: Path):
    rows = []
    for number in range(24):
        write_image(tmp_path / f"img/{number}.png")
        rows.append(f"{number}.png  {('-1', '1')[number % 2]}  1 -1")
    for header in ("24\nSmiling Male Young \n", "image Smiling Male Young\n"):
        (tmp_path / "list_attr.txt").write_text(header + "\n".join(rows) + "\n", encoding="utf-8")
        data = open_data(str(tmp_path / "list_attr.txt"))
        assert data.classes == ("Smiling", "Male", "Young")
        assert {sample.labels for sample in data.samples} == {(1,), (0, 1)}
        assert len(data.samples) == 24


def test_numbers_of_classes_are_not_flags(tmp_path: Path):
    for split in ("train", "test"):
        (tmp_path / f"{split}.txt").write_text("a.png 1\n", encoding="utf-8")
    assert not LAYOUTS.get("imagelist").detect(tmp_path)


def choices(*names: str) -> dict[str, object]:
    return {"type": "choices", "value": {"choices": list(names)}}


def test_label_studio_tasks(tmp_path: Path):
    tasks = [
        {"data": {"image": "/data/upload/1/a.png"}, "annotations": [{"result": [choices("cat", "dog")]}]},
        {
            "data": {"image": "/data/local-files/?d=photos%2Fb.png"},
            "annotations": [
                {"was_cancelled": True, "result": [choices("cat")]},
                {"result": [{"type": "rectanglelabels", "value": {"x": 1, "rectanglelabels": ["tree"]}}]},
                {"result": [choices("dog")]},
            ],
        },
        {"data": {"image": "/data/upload/1/c.png"}, "annotations": [{"result": []}]},
        {"data": {"image": "/data/upload/1/d.png"}, "annotations": []},
    ]
    for name in ("a.png", "b.png", "c.png", "d.png"):
        write_image(tmp_path / "photos" / name)
    (tmp_path / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    data = open_data(str(tmp_path), split=False)
    assert data.layout == "labelstudio"
    assert tags(data) == {"a.png": ("test", {"cat", "dog"}), "b.png": ("test", {"tree"}), "c.png": ("test", set())}
    assert [str(problem.detail) for problem in data.problems] == ["1 of 4 are skipped"]
    assert all(sample.image.is_file() for sample in data.samples)


def test_label_studio_records(tmp_path: Path):
    records = [
        {"image": "a.png", "choice": "cat", "id": 1, "annotator": 1, "annotation_id": 7},
        {"image": "b.png", "choice": {"choices": ["cat", "dog"]}, "id": 2, "annotation_id": 8},
        {"image": "c.png", "label": [{"x": 1, "rectanglelabels": ["dog"]}], "id": 3, "weather": "sunny"},
    ]
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name)
    file = tmp_path / "export.json"
    file.write_text(json.dumps(records), encoding="utf-8")
    data = open_data(str(file), split=False)
    assert tags(data) == {"a.png": ("test", {"cat"}), "b.png": ("test", {"cat", "dog"}), "c.png": ("test", {"dog"})}
    (problem,) = data.problems
    assert str(problem).startswith(f"texts that may be labels: weather in {file} (not read; if these are labels, ")
    file.write_text(json.dumps([{"choice": "cat", "annotation_id": 1}]), encoding="utf-8")
    assert "entry 0: expected the path of an image" in refused(file)


def test_folders_as_labels_only_where_the_user_says_so(tmp_path: Path):
    for number in range(24):
        write_image(tmp_path / ("cat", "dog")[number % 2] / f"{number}.png")
    message = refused(tmp_path)
    assert "a folder of 24 images without labels; if its folders (cat, dog) are the labels" in message
    data = open_data(str(tmp_path), layout="folders")
    assert data.classes == ("cat", "dog")
    assert {(sample.image.parent.name, sample.labels) for sample in data.samples} == {("cat", (0,)), ("dog", (1,))}


def test_folders_as_labels_in_folders_of_splits(tmp_path: Path):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            write_image(tmp_path / split / name / f"{split}{name}.png")
    data = open_data(str(tmp_path), layout="folders")
    assert tags(data)["valdog.png"] == ("val", {"dog"})


def test_what_lies_there_is_named_with_the_reason(tmp_path: Path):
    write_image(tmp_path / "img/a.png")
    (tmp_path / "prices.csv").write_text("fruit,price\napple,1\n", encoding="utf-8")
    (tmp_path / "cameras.csv").write_text("image,camera\na.png,Leica\n", encoding="utf-8")
    (tmp_path / "table.txt").write_text("image\tlabels\na.png\tx\n", encoding="utf-8")
    (tmp_path / "labels.xlsx").write_bytes(b"PK\x03\x04")
    (tmp_path / "notes.json").write_text('{"author": "me"}', encoding="utf-8")
    (tmp_path / "a.xml").write_text("<html/>", encoding="utf-8")
    message = refused(tmp_path)
    assert "a folder of 1 image without labels" in message
    assert "prices.csv: no column of images" in message
    assert "its columns are fruit, price" in message
    assert "cameras.csv: no column of labels" in message
    assert "table.txt: a table? rename it to .csv or .tsv" in message
    assert "labels.xlsx: a workbook: save its sheet as CSV" in message
    assert 'notes.json: neither COCO\'s nor Label Studio\'s JSON; it begins with {"author": "me"}' in message
    assert "a.xml: XML is read as Pascal VOC's (in Annotations/" in message


def test_a_table_by_columns_is_named(tmp_path: Path):
    write_image(tmp_path / "a.png")
    (tmp_path / "frame.json").write_text('{"image": {"0": "a.png"}, "labels": {"0": ["x"]}}', encoding="utf-8")
    assert "frame.json: a table by columns, as pandas writes it: write it with DataFrame.to_json(" in refused(tmp_path)


def test_a_table_in_a_folder_below_is_named(tmp_path: Path):
    many_rows(tmp_path / "labels", "image,labels", ["x", "y"])
    assert "labels/labels.csv: a table of labels, where it is not looked for: point --data at it" in refused(tmp_path)


def test_no_new_layout_takes_what_others_read(tmp_path: Path):
    make_csv(tmp_path)
    fitting = [name for name, layout in LAYOUTS.items() if layout.automatic and layout.detect(tmp_path)]
    assert fitting == ["csv"]
