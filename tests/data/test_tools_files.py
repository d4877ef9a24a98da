"""Files of labeling tools and tables without a header, as people have them."""

import json
from pathlib import Path

import pytest
from make_layouts import write_image

from mlkdc.data import open_data
from mlkdc.errors import UsageError
from mlkdc.types import TaggedImages


def labels(data: TaggedImages) -> dict[str, list[str]]:
    return {sample.image.name: [data.classes[label] for label in sample.labels] for sample in data.samples}


def table(folder: Path, text: str, images: int = 24) -> Path:
    for number in range(images):
        write_image(folder / f"{number}.png", number)
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return folder


def test_a_table_without_a_header_keeps_its_first_row(tmp_path: Path) -> None:
    rows = [f"{number}.png,{('cat|dog', 'cat', 'dog')[number % 3]}" for number in range(24)]
    data = open_data(str(table(tmp_path / "two", "\n".join(rows))))
    assert len(data.samples) == 24
    assert labels(data)["0.png"] == ["cat", "dog"]
    assert data.notes == ("labels.csv has no header: its columns are taken for image, labels",)
    rows = [f"{number}.png;cat;{('train', 'test')[number % 2]}" for number in range(24)]
    data = open_data(str(table(tmp_path / "three", "\n".join(rows))))
    assert (len(data.split("train")), len(data.split("test"))) == (12, 12)


@pytest.mark.parametrize("row", ["{}.png,cat,dog", "{}.png,1,0,1", "{}.png,{}.jpg"])
def test_a_table_without_a_header_that_can_mean_several_things_is_refused(row: str, tmp_path: Path) -> None:
    table(tmp_path, "\n".join(row.format(number, number) for number in range(24)))
    with pytest.raises(UsageError, match="the first line looks like a row: put a header"):
        open_data(str(tmp_path))


def test_columns_of_yes_and_no(tmp_path: Path) -> None:
    rows = [f"{number}.png,{('Yes', 'No')[number % 2]},{('x', '')[number % 3 > 0]},1" for number in range(24)]
    data = open_data(str(table(tmp_path, "\n".join(["image,cat,dog,bird", *rows]))))
    assert labels(data)["0.png"] == ["cat", "dog", "bird"]
    assert labels(data)["1.png"] == ["bird"]
    assert any("'yes' in a column is read as its label, 'no' and an empty cell as none" in note for note in data.notes)
    with pytest.raises(UsageError, match="holds 'yes', 'maybe', expected 0 or 1"):
        open_data(str(table(tmp_path / "more", "\n".join(["image,cat", "0.png,yes", "1.png,maybe"]))))


def write_labelme(file: Path, image: str, names: list[str], flags: dict[str, bool] | None = None) -> None:
    shapes = [{"label": name, "points": [[0, 0], [2, 2]], "shape_type": "rectangle", "flags": {}} for name in names]
    content = {"version": "5.4.1", "flags": flags or {}, "shapes": shapes, "imagePath": image, "imageData": "A" * 99}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=2), encoding="utf-8")


def test_labelme_with_shapes_and_flags(tmp_path: Path) -> None:
    for number in range(24):
        write_image(tmp_path / f"images/{number}.png", number)
        flags = {"night": number == 1, "rain": False}
        write_labelme(tmp_path / f"labels/{number}.json", f"..\\images\\{number}.png", ["cat", "cat"], flags)
    data = open_data(str(tmp_path))
    assert (data.layout, data.classes) == ("labelme", ("cat", "night", "rain"))
    assert labels(data)["0.png"] == ["cat"]
    assert labels(data)["1.png"] == ["cat", "night"]
    assert all(sample.image.is_file() for sample in data.samples)


def test_labelme_in_folders_of_splits_and_damaged(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_image(tmp_path / split / "a.png", len(split))
        write_labelme(tmp_path / split / "a.json", "a.png", ["dog"])
    data = open_data(str(tmp_path))
    assert (data.splits, data.split_from) == (("train", "val"), "official")
    path = tmp_path / "val" / "a.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"imagePath": "a.png"', '"imagePath": null'))
    with pytest.raises(UsageError, match=r"a\.json: expected the path of the image under 'imagePath'"):
        open_data(str(tmp_path))


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels><label><name>cat</name></label><label><name>owl</name></label>
</labels></task></meta>{}</annotations>"""


def test_cvat_for_images(tmp_path: Path) -> None:
    images = []
    for number in range(24):
        write_image(tmp_path / f"images/{number}.png", number)
        shape = '<box label="dog" xtl="1" ytl="1" xbr="2" ybr="2"></box>' if number % 2 else ""
        images.append(
            f'<image id="{number}" name="{number}.png" width="8" height="8"><tag label="cat"/>{shape}</image>'
        )
    (tmp_path / "annotations.xml").write_text(CVAT.format("".join(images)), encoding="utf-8")
    data = open_data(str(tmp_path))
    assert (data.layout, data.classes) == ("cvat", ("cat", "owl", "dog"))
    assert (labels(data)["0.png"], labels(data)["1.png"]) == (["cat"], ["cat", "dog"])
    subsets = [
        image.replace('" name', f'" subset="{("Train", "Test")[at % 2]}" name') for at, image in enumerate(images)
    ]
    (tmp_path / "annotations.xml").write_text(CVAT.format("".join(subsets)), encoding="utf-8")
    assert len(open_data(str(tmp_path)).split("train")) == 12
    (tmp_path / "annotations.xml").write_text(CVAT.format('<track id="0" label="cat"></track>'), encoding="utf-8")
    with pytest.raises(UsageError, match="CVAT's XML of a video"):
        open_data(str(tmp_path))


def write_voc(folder: Path, names: dict[str, list[str]], label: str) -> None:
    for split, images in names.items():
        (folder / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
        (folder / f"ImageSets/Main/{split}.txt").write_text("\n".join(images) + "\n")
        for name in images:
            write_image(folder / f"JPEGImages/{name}.jpg", hash(name) % 99)
            (folder / "Annotations").mkdir(exist_ok=True)
            xml = f'<annotation verified="yes"><object><name>{label}</name></object></annotation>'
            (folder / f"Annotations/{name}.xml").write_text(xml)


def test_two_years_of_voc_are_read_together(tmp_path: Path) -> None:
    write_voc(tmp_path / "VOCdevkit/VOC2007", {"train": ["1"], "test": ["2"]}, "cat")
    write_voc(tmp_path / "VOCdevkit/VOC2012", {"train": ["2008_1"], "val": ["2008_2"]}, "dog")
    data = open_data(str(tmp_path))
    assert [sample.image.stem for sample in data.split("train")] == ["1", "2008_1"]
    assert (len(data.split("val")), len(data.split("test")), len(data.classes)) == (1, 1, 20)
    assert "VOC2007 and VOC2012 are read together" in data.notes[0]
    for year, name in (("VOC2007", "cat"), ("VOC2012", "dog")):
        (tmp_path / "VOCdevkit" / year / "classes.txt").write_text(f"{name}\n")
    with pytest.raises(UsageError, match="whose classes or splits do not go together"):
        open_data(str(tmp_path))


def test_xml_next_to_the_images_of_one_folder(tmp_path: Path) -> None:
    for number in range(24):
        write_image(tmp_path / f"{number}.png", number)
        xml = f'<annotation verified="yes"><object><name>{("a", "b")[number % 2]}</name></object></annotation>'
        (tmp_path / f"{number}.xml").write_text(xml)
    data = open_data(str(tmp_path))
    assert (data.layout, data.classes, len(data.samples)) == ("voc", ("a", "b"), 24)


def test_a_small_file_alone_that_is_called_train_is_trained_on(tmp_path: Path) -> None:
    images = [{"id": number, "file_name": f"{number}.png"} for number in range(8)]
    for number in range(8):
        write_image(tmp_path / f"coco/train/{number}.png", number)
    annotations = [{"id": number, "image_id": number, "category_id": 1} for number in range(8)]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]}
    file = tmp_path / "coco/annotations/instances_train.json"
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    assert open_data(str(tmp_path / "coco")).splits == ("train",)
    file.rename(file.with_name("all.json"))
    with pytest.raises(UsageError, match=r"too few to split.*: 8 images;"):
        open_data(str(tmp_path / "coco"))
    rows = [f"{number}.png,cat" for number in range(6)]
    (table(tmp_path / "csv", "\n".join(["image,labels", *rows]), 6) / "labels.csv").rename(tmp_path / "csv/train.csv")
    assert open_data(str(tmp_path / "csv")).splits == ("train",)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("ann/a.png.json", '{"tags": [], "objects": [{"classTitle": "cat"}]}', "Supervisely's annotations: export"),
        (
            "via.json",
            '{"a.png123": {"filename": "a.png", "regions": [], "file_attributes": {}}}',
            "VGG Image Annotator",
        ),
        ("labels.xlsx", "PK", "a workbook: save its sheet as CSV"),
        ("data.parquet", "PAR1", "Parquet: write its images as files"),
        ("a.tfrecord", "x", "TFRecord: write its images as files"),
        ("photos.zip", "PK", "an archive: unpack it"),
        ("train.txt", "a.png 3,7\n", "train.txt: lines with images, but not an image and 0/1 flags.*write a table"),
        ("list.txt", "a.png,1,0\n", "list.txt: lines with images, but not an image and 0/1 flags.*write a table"),
    ],
)
def test_what_other_tools_write_is_named(name: str, content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "set" / name
    file.parent.mkdir(parents=True)
    file.write_text(content)
    write_image(tmp_path / "a.png", 1)
    with pytest.raises(UsageError, match=said):
        open_data(str(tmp_path))


def test_addresses_of_files_are_shown_as_paths_where_they_are_missing(tmp_path: Path) -> None:
    rows = [f"file://localhost/nowhere/{number}%20b.png,cat" for number in range(24)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,labels", *rows]))
    assert "24 of 24 images are missing, such as /nowhere/0 b.png;" in open_data(str(tmp_path)).notes[0]


def test_label_studios_taxonomies_and_numbers_are_labels(tmp_path: Path):
    tasks = []
    for number in range(24):
        write_image(tmp_path / f"{number}.png")
        results = [
            {"type": "taxonomy", "value": {"taxonomy": [["animal", "cat"], ["plant"]]}},
            {"type": "choices", "value": {"choices": [number % 2]}},
        ]
        tasks.append({"data": {"image": f"{number}.png"}, "annotations": [{"result": results}]})
    (tmp_path / "project.json").write_text(json.dumps(tasks), encoding="utf-8")
    data = open_data(str(tmp_path))
    assert data.classes == ("0", "1", "animal", "cat", "plant")
    assert {sample.labels for sample in data.samples} == {(0, 2, 3, 4), (1, 2, 3, 4)}


def test_what_a_detector_answered_is_no_label(tmp_path: Path) -> None:
    answers = [{"image_id": number, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.9} for number in range(24)]
    for number in range(24):
        write_image(tmp_path / f"{number}.png", number)
    file = tmp_path / "results.json"
    file.write_text(json.dumps(answers), encoding="utf-8")
    for path in (tmp_path, file):
        with pytest.raises(UsageError, match=r"COCO's format for results: what a detector answered"):
            open_data(str(path))
    table(tmp_path / "rows", "image_id,category_id,score\n0,1,0.9\n", images=1)
    with pytest.raises(UsageError, match=r"labels\.csv is in COCO's format for results"):
        open_data(str(tmp_path / "rows"))


@pytest.mark.parametrize("labels", [["cat", "dog"], "cat", {"cat": 1}])
def test_labels_by_image_get_advice(labels: object, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "labels.json").write_text(json.dumps({"a.png": labels}), encoding="utf-8")
    with pytest.raises(UsageError, match=r'labels by image: write it as a list, \[\{"image": "a.jpg"'):
        open_data(str(tmp_path))
