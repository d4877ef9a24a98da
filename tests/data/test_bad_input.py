"""Whatever can be wrong with the path or the files: one sentence that says what to do."""

import json
from pathlib import Path

import pytest
from make_layouts import csv_folder, make_coco, make_csv, make_mirflickr, make_nuswide, make_voc, write_image

from mlkdc.data import LAYOUTS, open_data
from mlkdc.errors import UsageError


def refused(path: Path, **options: str) -> str:
    with pytest.raises(UsageError) as caught:
        open_data(str(path), **options)
    return str(caught.value)


def test_no_such_path(tmp_path: Path):
    assert "no such file or folder" in refused(tmp_path / "nowhere")


def test_no_layout_fits_names_every_layout(tmp_path: Path):
    message = refused(tmp_path)
    assert "an empty folder" in message
    for name, layout in LAYOUTS.items():
        assert f"{name}: {layout.summary}" in message
    assert "'digits'" in message


def test_images_without_labels(tmp_path: Path):
    write_image(tmp_path / "deep/a.png")
    assert "a folder of 1 image without labels" in refused(tmp_path)
    assert "not an index file" in refused(tmp_path / "deep/a.png")


def test_folder_of_other_things(tmp_path: Path):
    (tmp_path / "readme.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "prices.csv").write_text("fruit,price\napple,1\n", encoding="utf-8")
    assert "neither images nor labels" in refused(tmp_path)


def test_two_layouts_fit(tmp_path: Path):
    make_coco(tmp_path)
    make_csv(tmp_path)
    assert "coco, csv; choose with --set data.layout=coco" in refused(tmp_path)
    assert open_data(str(tmp_path), layout="csv").layout == "csv"


def test_chosen_layout_does_not_fit_or_is_mistyped(tmp_path: Path):
    folder = make_csv(tmp_path)
    assert "is not laid out as 'voc'" in refused(folder, layout="voc")
    assert "unknown layout 'nuswid'; did you mean nuswide?" in refused(folder, layout="nuswid")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected the columns image,labels"),
        ("what,labels\na.png,x\n", "expected the columns image,labels"),
        ("a.png,x,y\nb.png,y,z\n", "got: a.png, x, y; the first line looks like a row: put a header"),
        ("image\na.png\n", "expected the columns image,labels"),
        ("image,labels\n", "it lists no image"),
        ("image,labels,split\na.png,,train\n", "no image has a label"),
        ("image,labels,split\na.png,x,train\nb.png,x,trian\n", "row 3: unknown split 'trian'; did you mean train"),
        ("image,labels,split\na.png,x,y,train\n", "row 2: the header has 3 columns, this row 4"),
        ("image,cat,dog\na.png,1,0\nb.png,yes,0\n", "row 3: column 'cat' holds 'yes', expected 0 or 1"),
        ("image,cat,cat\na.png,1,0\n", "two label columns have the same name"),
        ('image,labels\n"a.png,x\n', "row 2: not a well-formed table"),
        ("image,labels\na.png,x\n", "too few to split into train, val and test: 1 image;"),
    ],
)
def test_csv_faults(text: str, expected: str, tmp_path: Path):
    assert expected in refused(csv_folder(tmp_path / "t", text) / "labels.csv")


def test_csv_that_is_not_text(tmp_path: Path):
    (tmp_path / "labels.csv").write_bytes(b"PK\x03\x04 and so on")
    assert "is a zip file or an Excel workbook and not text; save it as CSV" in refused(tmp_path)


def test_classes_file_that_is_not_utf8(tmp_path: Path):
    folder = csv_folder(tmp_path / "t", "image,labels,split\na.png,x,train\n")
    (folder / "classes.txt").write_bytes(b"caf\xe9\n")
    assert "classes.txt: expected UTF-8" in refused(folder)


def test_classes_file_with_a_repeat(tmp_path: Path):
    folder = csv_folder(tmp_path / "t", "image,labels,split\na.png,x,train\n", classes="x\ny\nx\n")
    assert "each once; got twice: x" in refused(folder)


def test_csv_troubles_that_are_reported_and_not_fatal(tmp_path: Path):
    text = "image,labels,split,author\na.png,x|Xx|x,train,me\nb.png,x| xx ||zz,train,me\n,x,train,me\nc.png,x,test,me\n"
    data = open_data(str(csv_folder(tmp_path / "t", text, classes="x\nxx\nXx\n")))
    assert [str(problem) for problem in data.problems] == [
        f"unused column: {tmp_path / 't/labels.csv'} (author)",
        "repeated label: labels.csv row 2 (x)",
        "empty label: labels.csv row 3 (nothing between |)",
        "unknown label: labels.csv row 3 ('zz' is not in classes.txt)",
        "empty image path: labels.csv row 4 (the row is skipped)",
        "similar labels: xx / Xx",
    ]
    assert [sample.labels for sample in data.samples] == [(0, 2), (0, 1), (0,)]


def test_voc_missing_lists_annotations_and_unknown_names(tmp_path: Path):
    folder = make_voc(tmp_path) / "VOC2007"
    (folder / "Annotations/000003.xml").unlink()
    (folder / "ImageSets/Main/val.txt").write_text("000002\n000009\n", encoding="utf-8")
    xml = folder / "Annotations/000001.xml"
    xml.write_text(xml.read_text(encoding="utf-8").replace("<name>dog<", "<name>wolf<"), encoding="utf-8")
    (folder / "classes.txt").write_text("person\ncat\ndog\n", encoding="utf-8")
    data = open_data(str(folder))
    assert data.classes == ("person", "cat", "dog")
    assert [problem.kind for problem in data.problems] == ["missing file", "split without annotations", "unknown label"]
    assert data.splits == ("train", "val")
    for name in ("train", "val", "test"):
        (folder / f"ImageSets/Main/{name}.txt").unlink()
    (folder / "ImageSets/Main/dog_train.txt").unlink()
    assert "expected train.txt, val.txt or test.txt" in refused(folder)


def test_voc_broken_annotation(tmp_path: Path):
    folder = make_voc(tmp_path) / "VOC2007"
    xml = folder / "Annotations/000001.xml"
    good = xml.read_text(encoding="utf-8")
    xml.write_text(good[:-20], encoding="utf-8")
    assert "000001.xml: not well-formed XML" in refused(folder)
    xml.write_text(good.replace("<xmin>1</xmin>", ""), encoding="utf-8")
    assert "000001.xml: an object has no number bndbox/xmin" in refused(folder)


def test_coco_two_years(tmp_path: Path):
    make_coco(tmp_path, "2014")
    make_coco(tmp_path, "2017")
    assert "several years of COCO; point --data at one file" in refused(tmp_path)


def test_coco_broken_files(tmp_path: Path):
    file = make_coco(tmp_path) / "annotations/instances_val2014.json"
    good = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(file.read_text(encoding="utf-8")[:-5], encoding="utf-8")
    assert "instances_val2014.json: not well-formed JSON" in refused(tmp_path)
    file.write_text(json.dumps({"images": []}), encoding="utf-8")
    assert "missing: annotations, categories" in refused(tmp_path)
    file.write_text(json.dumps({**good, "categories": good["categories"][:2]}), encoding="utf-8")
    assert "its categories differ" in refused(tmp_path)


def test_coco_annotations_of_unknown_things_are_reported(tmp_path: Path):
    file = make_coco(tmp_path) / "annotations/instances_val2014.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["annotations"] += [
        {"image_id": 21, "category_id": 77, "bbox": [0, 0, 1, 1]},
        {"image_id": 99, "category_id": 3, "bbox": [0, 0, 1, 1]},
    ]
    file.write_text(json.dumps(content), encoding="utf-8")
    problems = open_data(str(tmp_path)).problems
    assert [(problem.kind, problem.detail) for problem in problems[1:]] == [
        ("unknown label", "category id 77, 1 annotations"),
        ("annotation of an unknown image", "1 image ids"),
    ]


def test_nuswide_faults(tmp_path: Path):
    truth = make_nuswide(tmp_path) / "Groundtruth/TrainTestLabels"
    good = (truth / "Labels_water_Train.txt").read_text(encoding="utf-8")
    for bad in ("1\n", "1\n2\n"):
        (truth / "Labels_water_Train.txt").write_text(bad, encoding="utf-8")
        assert "Labels_water_Train.txt: expected 2 lines of 0 or 1" in refused(tmp_path)
    (truth / "Labels_water_Train.txt").write_text(good, encoding="utf-8")
    (truth / "Labels_sky_Test.txt").unlink()
    assert "Labels_sky_Test.txt: no such file, but this layout needs it" in refused(tmp_path)
    (tmp_path / "Concepts81.txt").unlink()
    assert "Concepts81.txt: no such file" in refused(tmp_path)


def test_mirflickr_faults(tmp_path: Path):
    root = make_mirflickr(tmp_path / "mir")
    baby = root / "mirflickr25k_annotations_v080/baby.txt"
    baby.write_text("im7.jpg\n", encoding="utf-8")
    assert "baby.txt: expected one image number per line, got 'im7.jpg'" in refused(root)
    baby.unlink()
    assert "baby.txt: no such file" in refused(root)
    baby.write_text("", encoding="utf-8")
    (root / "mirflickr").rename(tmp_path / "elsewhere")
    assert "no image im1.jpg" in refused(root)
