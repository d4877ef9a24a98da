"""VOC's layout with the user's own classes and files, as labelImg, CVAT and Roboflow write it."""

from pathlib import Path

import pytest
from make_layouts import make_voc, make_voclists, voc_xml, write_image

from mlkdc.data import open_data
from mlkdc.errors import UsageError
from mlkdc.types import TaggedImages

OWN = {"0": ["helmet", "vest"], "1": ["vest"], "2": ["glove"]}
LISTS = {"train": ["0", "1"], "test": ["2"]}


def own(root: Path, suffix: str = ".jpg", lists: dict[str, list[str]] = LISTS) -> Path:
    """Three images with classes that are not VOC's."""
    (root / "Annotations").mkdir(parents=True)
    for name, names in OWN.items():
        xml = voc_xml([(each, 0, (1, 1, 5, 5)) for each in names])
        (root / f"Annotations/{name}.xml").write_text(xml, encoding="utf-8")
        write_image(root / f"JPEGImages/{name}{suffix}")
    if lists:
        (root / "ImageSets/Main").mkdir(parents=True)
    for split, names in lists.items():
        (root / f"ImageSets/Main/{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return root


def labels(data: TaggedImages) -> dict[str, set[str]]:
    return {sample.image.stem: {data.classes[label] for label in sample.labels} for sample in data.samples}


def test_own_classes_are_those_of_the_annotations(tmp_path: Path):
    data = open_data(str(own(tmp_path / "VOC2007")))
    assert data.classes == ("glove", "helmet", "vest")
    assert labels(data) == {name: set(names) for name, names in OWN.items()}
    assert any("those that occur in the annotations" in note for note in data.notes)


@pytest.mark.parametrize("name", ["classes.txt", "labelmap.txt"])
def test_a_list_of_classes_counts(name: str, tmp_path: Path):
    folder = own(tmp_path / "VOC2007")
    (folder / name).write_text("# label:color\nbackground:0,0,0::\nvest:1,2,3::\nhelmet\nnever\n", encoding="utf-8")
    data = open_data(str(folder))
    assert data.classes == ("vest", "helmet", "never")
    assert [problem.kind for problem in data.problems] == ["unknown label"]


def test_lists_of_all_of_vocs_classes_keep_them(tmp_path: Path):
    folder = make_voc(tmp_path) / "VOC2007"
    classes = open_data(str(folder)).classes
    assert len(classes) == 20
    xml = folder / "Annotations/000001.xml"
    xml.write_text(xml.read_text(encoding="utf-8").replace("<name>dog<", "<name>wolf<"), encoding="utf-8")
    assert open_data(str(folder)).classes == ("cat", "dog", "person", "wolf")
    for name in classes:
        (folder / f"ImageSets/Main/{name}_train.txt").write_text("000001 -1\n", encoding="utf-8")
    data = open_data(str(folder))
    assert data.classes == classes
    assert [problem.kind for problem in data.problems] == ["unknown label"]


def test_images_of_another_suffix(tmp_path: Path):
    data = open_data(str(own(tmp_path / "VOC2007", ".png")))
    assert all(sample.image.is_file() for sample in data.samples)


def test_objects_without_boxes_are_labels(tmp_path: Path):
    folder = own(tmp_path / "VOC2007")
    (folder / "Annotations/0.xml").write_text(
        "<annotation><object><name> helmet\n</name></object></annotation>", encoding="utf-8"
    )
    data = open_data(str(folder))
    assert labels(data)["0"] == {"helmet"}
    assert data.samples[0].boxes == ()


def test_trainval_is_train_without_val(tmp_path: Path):
    data = open_data(str(own(tmp_path / "a", lists={"trainval": ["0", "1"], "test": ["2"]})))
    assert {sample.image.stem: sample.split for sample in data.samples} == {"0": "train", "1": "train", "2": "test"}
    data = open_data(str(own(tmp_path / "b", lists={"trainval": ["0", "1"], "val": ["1"], "test": ["2"]})))
    assert {sample.image.stem: sample.split for sample in data.samples} == {"0": "train", "1": "val", "2": "test"}


def test_flags_behind_the_names_of_a_list(tmp_path: Path):
    folder = own(tmp_path / "VOC2007", lists={"train": ["0  1", "1 -1"], "test": ["2"]})
    assert set(labels(open_data(str(folder)))) == {"0", "1", "2"}


@pytest.mark.parametrize("listed", ["{}.jpg", "JPEGImages/{}.jpg", "data\\\\JPEGImages\\\\{}.JPG"])
def test_lists_of_files(listed: str, tmp_path: Path):
    lists = {split: [listed.format(name) for name in names] for split, names in LISTS.items()}
    data = open_data(str(own(tmp_path / "VOC2007", lists=lists)))
    assert {sample.image.stem: sample.split for sample in data.samples} == {"0": "train", "1": "train", "2": "test"}


@pytest.mark.parametrize("lists", [{}, {"default": ["0", "1", "2"]}, {"train": ["0", "1", "2"]}])
def test_one_list_or_none_is_split_here(lists: dict[str, list[str]], tmp_path: Path):
    folder = own(tmp_path / "VOC2007", lists=lists)
    assert len(open_data(str(folder), split=False).samples) == 3
    with pytest.raises(UsageError, match=r"too few to split.*: 3 images;"):
        open_data(str(folder))


def test_annotations_next_to_the_images(tmp_path: Path):
    for split, name in (("train", "0"), ("valid", "1")):
        write_image(tmp_path / split / f"{name}.png")
        (tmp_path / split / f"{name}.xml").write_text(voc_xml([("dog", 0, (1, 1, 5, 5))]), encoding="utf-8")
    data = open_data(str(tmp_path))
    assert [(sample.image.name, sample.split) for sample in data.samples] == [("0.png", "train"), ("1.png", "val")]
    assert data.classes == ("dog",)


def test_xml_in_windows_code_page(tmp_path: Path):
    folder = own(tmp_path / "VOC2007")
    text = "<annotation><folder>H\u00e4user</folder><object><name>helmet</name></object></annotation>"
    declared = '<?xml version="1.0" encoding="ISO-8859-1"?>' + text
    for content in (text.encode("cp1252"), declared.encode("cp1252"), text.encode("utf-8-sig")):
        (folder / "Annotations/0.xml").write_bytes(content)
        assert labels(open_data(str(folder)))["0"] == {"helmet"}


def test_empty_and_exploding_xml_are_refused(tmp_path: Path):
    folder = own(tmp_path / "VOC2007")
    bomb = '<!DOCTYPE a [<!ENTITY a0 "aaaaaaaaaa">'
    for level in range(1, 12):
        bomb += f'<!ENTITY a{level} "{10 * f"&a{level - 1};"}">'
    for content in ("", bomb + "]><annotation>&a11;</annotation>"):
        (folder / "Annotations/0.xml").write_text(content, encoding="utf-8")
        with pytest.raises(UsageError, match=r"0\.xml: not well-formed XML .*; fix or delete it"):
            open_data(str(folder))


def test_annotations_in_a_namespace(tmp_path: Path):
    folder = own(tmp_path / "VOC2007")
    for file in (folder / "Annotations").iterdir():
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("<annotation>", '<annotation xmlns="http://example.org/voc">'), encoding="utf-8")
    data = open_data(str(folder))
    assert labels(data) == {name: set(names) for name, names in OWN.items()}
    assert all(sample.boxes for sample in data.samples)


def test_lists_without_annotations(tmp_path: Path) -> None:
    data = open_data(str(make_voclists(tmp_path / "photos")))
    assert data.classes == ("cat", "dog")
    shown = {sample.image.name: (sample.split, sample.labels) for sample in data.samples}
    assert shown == {"a.jpg": ("train", (0, 1)), "b.jpg": ("train", ()), "c.jpg": ("val", (1,))}


def test_lists_of_train_and_val_together_and_of_val(tmp_path: Path) -> None:
    folder = make_voclists(tmp_path / "photos")
    for name in ("cat_train", "dog_train", "dog_val"):
        (folder / f"ImageSets/Main/{name}.txt").unlink()
    data = open_data(str(folder))
    assert {sample.image.name: sample.split for sample in data.samples} == {
        "a.jpg": "train",
        "b.jpg": "train",
        "c.jpg": "val",
    }


def test_a_list_without_flags_is_refused(tmp_path: Path) -> None:
    folder = make_voclists(tmp_path / "photos")
    (folder / "ImageSets/Main/dog_train.txt").write_text("a\nb\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"dog_train.txt: expected lines of an image and 1, 0 or -1; got 'a'"):
        open_data(str(folder))
