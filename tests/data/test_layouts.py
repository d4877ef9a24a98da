"""Every layout: detected automatically, read as its source means it."""

from pathlib import Path

import pytest
from make_layouts import MAKERS, csv_folder, make_coco, make_csv, make_mirflickr, make_nuswide, make_voc, write_image

import mlkdc.data.layouts
from mlkdc.data import LAYOUTS, fingerprint, open_data
from mlkdc.data.check import decode_all
from mlkdc.types import TaggedImages

FILES = sorted(file.stem for file in Path(mlkdc.data.layouts.__file__).parent.glob("[!_]*.py"))


def tags(data: TaggedImages) -> dict[str, tuple[str, set[str]]]:
    """File name -> (split, label names)."""
    return {
        sample.image.name: (sample.split, {data.classes[label] for label in sample.labels}) for sample in data.samples
    }


def boxes(data: TaggedImages, name: str) -> list[tuple[str, float, float, float, float]]:
    (sample,) = [sample for sample in data.samples if sample.image.name == name]
    return [(data.classes[box.label], box.left, box.top, box.right, box.bottom) for box in sample.boxes]


def test_every_layout_file_registers_and_has_a_maker():
    assert LAYOUTS.names() == FILES == sorted(MAKERS)


@pytest.mark.parametrize("name", FILES)
class TestEveryLayout:
    def test_only_its_reader_detects_it(self, name: str, tmp_path: Path):
        path = MAKERS[name](tmp_path / "photos")
        named = open_data(str(path), layout=name)
        assert named.layout == name
        fitting = [other for other, layout in LAYOUTS.items() if layout.automatic and layout.detect(path)]
        if not LAYOUTS.get(name).automatic:
            assert fitting == []
            return
        assert fitting == [name]
        assert open_data(str(path)) == named

    def test_every_sample_is_complete(self, name: str, tmp_path: Path):
        data = open_data(str(MAKERS[name](tmp_path / "photos")), layout=name)
        assert decode_all(data.samples).problems == []
        for sample in data.samples:
            assert sample.split in ("train", "val", "test")
            assert sample.labels == tuple(sorted(set(sample.labels)))
            assert {box.label for box in sample.boxes} <= set(sample.labels)

    def test_fingerprint_does_not_depend_on_the_place(self, name: str, tmp_path: Path):
        first, second = MAKERS[name](tmp_path / "first/x"), MAKERS[name](tmp_path / "second/x")
        assert fingerprint(open_data(str(first), layout=name)) == fingerprint(open_data(str(second), layout=name))


def test_csv_joined_labels_and_spellings_of_splits(tmp_path: Path):
    data = open_data(str(make_csv(tmp_path / "photos")))
    assert data.name == "photos"
    assert data.split_from == "official"
    assert data.classes == ("bird", "cat", "dog")
    assert tags(data) == {
        "a.png": ("train", {"dog", "cat"}),
        "b.png": ("val", {"cat"}),
        "c.png": ("test", set()),
        "d.png": ("train", {"bird"}),
    }


def test_csv_file_itself_and_tsv_and_single_table(tmp_path: Path):
    text = "image\tlabels\tsplit\na.png\tx|y\ttrain\nb.png\ty\ttest\n"
    folder = csv_folder(tmp_path / "t", text, name="pets.tsv")
    (folder / "notes.txt").write_text("not a table", encoding="utf-8")
    for path in (folder, folder / "pets.tsv"):
        assert tags(open_data(str(path))) == {"a.png": ("train", {"x", "y"}), "b.png": ("test", {"y"})}


def test_csv_one_column_per_label(tmp_path: Path):
    text = "Image,zebra,Split,ant\na.png,1,train,0\nb.png,1,test,1\nc.png,0,train,0\n"
    data = open_data(str(csv_folder(tmp_path / "t", text)))
    assert data.classes == ("zebra", "ant")
    assert tags(data) == {
        "a.png": ("train", {"zebra"}),
        "b.png": ("test", {"zebra", "ant"}),
        "c.png": ("train", set()),
    }


def test_csv_classes_file_fixes_the_order(tmp_path: Path):
    text = "image,labels,split\na.png,x|y,train\n"
    data = open_data(str(csv_folder(tmp_path / "t", text, classes="y\nnever\nx\n")))
    assert data.classes == ("y", "never", "x")
    assert data.samples[0].labels == (0, 2)


def test_csv_quoted_cells_and_byte_order_mark(tmp_path: Path):
    folder = csv_folder(tmp_path / "t", "image,labels,split\n")
    (folder / "labels.csv").write_text('image,labels,split\n"a, b.png",caf\u00e9|x,train\n', encoding="utf-8-sig")
    write_image(folder / "a, b.png")
    assert tags(open_data(str(folder))) == {"a, b.png": ("train", {"caf\u00e9", "x"})}


def test_voc_official_splits_boxes_and_difficult_objects(tmp_path: Path):
    devkit = make_voc(tmp_path)
    data = open_data(str(devkit))
    assert data.name == "VOC2007"
    assert data.split_from == "official"
    assert len(data.classes) == 20
    assert tags(data) == {
        "000001.jpg": ("train", {"person", "dog"}),
        "000002.jpg": ("val", {"cat"}),
        "000003.jpg": ("test", {"person"}),
    }
    # 1-based inclusive pixels 3..10 are 2..10 with an exclusive end.
    assert boxes(data, "000001.jpg") == [("person", 0, 0, 5, 12), ("dog", 2, 3, 10, 11)]
    assert len(boxes(data, "000003.jpg")) == 2
    for path in (tmp_path, devkit / "VOC2007"):
        assert open_data(str(path)).samples == data.samples


def test_coco_category_order_boxes_and_unannotated_images(tmp_path: Path):
    data = open_data(str(make_coco(tmp_path / "coco")))
    assert data.name == "coco"
    assert data.classes == ("person", "car", "boat")
    assert tags(data) == {
        "COCO_train2014_000000000011.jpg": ("train", {"boat", "person"}),
        "COCO_val2014_000000000021.jpg": ("val", {"car"}),
    }
    assert boxes(data, "COCO_train2014_000000000011.jpg")[0] == ("boat", 1.5, 2, 5.5, 7.5)
    (problem,) = data.problems
    assert (problem.kind, problem.detail) == ("images without annotation", "1 of 2 are skipped")


def test_coco_one_file_chooses_the_year(tmp_path: Path):
    root = make_coco(tmp_path / "coco", "2014")
    make_coco(root, "2017")
    data = open_data(str(root / "annotations/instances_val2017.json"))
    assert data.name == "coco"
    assert {sample.image.parent.name for sample in data.samples} == {"train2017", "val2017"}


def test_nuswide_lists_and_concept_order(tmp_path: Path):
    data = open_data(str(make_nuswide(tmp_path / "nus")))
    assert data.classes == ("sky", "airport", "water")
    assert data.splits == ("train", "test")
    assert tags(data) == {
        "0001_1.jpg": ("train", {"sky", "water"}),
        "0002_2.jpg": ("train", set()),
        "0003_3.jpg": ("test", {"airport", "water"}),
    }


def test_mirflickr_uses_the_24_potential_labels(tmp_path: Path):
    data = open_data(str(make_mirflickr(tmp_path / "mir")))
    assert len(data.classes) == 24
    assert not any("_r1" in name for name in data.classes)
    for name, (_, labels) in tags(data).items():
        number = int(name[2:-4])
        assert labels == {label for label, step in (("sky", 2), ("water", 3)) if number % step == 0}
    assert data.split_from.startswith("made here")


def test_mirflickr_reports_an_annotated_image_that_is_missing(tmp_path: Path):
    root = make_mirflickr(tmp_path / "mir")
    (root / "mirflickr/im6.jpg").unlink()
    (problem,) = decode_all(open_data(str(root)).samples).problems
    assert problem.kind == "missing file"
    assert problem.where.endswith("im6.jpg")


def test_fingerprint_changes_with_labels_split_and_content(tmp_path: Path):
    text = "image,labels,split\na.png,x|y,train\nb.png,x,test\n"
    folder = csv_folder(tmp_path / "t", text)
    seen = {fingerprint(open_data(str(folder)))}
    for changed in (text.replace("x|y", "y"), text.replace("test", "val")):
        (folder / "labels.csv").write_text(changed, encoding="utf-8")
        seen.add(fingerprint(open_data(str(folder))))
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    with (folder / "a.png").open("ab") as stream:
        stream.write(b"0")
    seen.add(fingerprint(open_data(str(folder))))
    content = bytearray((folder / "a.png").read_bytes())
    content[-1] ^= 1  # as many bytes as before
    (folder / "a.png").write_bytes(content)
    seen.add(fingerprint(open_data(str(folder))))
    assert len(seen) == 5
