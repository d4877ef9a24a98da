"""Cells of a table that hold neither labels nor lists of them."""

from pathlib import Path

import pytest
from make_layouts import many_rows

from mlkdc.data import open_data
from mlkdc.errors import UsageError

FLAGS = [(1, 0, 0), (1, 1, 0), (0, 0, 0), (0, 1, 1)]
FORMS = {
    "list": lambda flags: f'"{list(flags)}"',
    "floats": lambda flags: f'"[{" ".join(f"{flag}." for flag in flags)}]"',
    "booleans": lambda flags: f'"{[bool(flag) for flag in flags]}"',
    "blanks": lambda flags: " ".join(map(str, flags)),
    "commas": lambda flags: f'"{",".join(map(str, flags))}"',
    "digits": lambda flags: "".join(map(str, flags)),
}


@pytest.mark.parametrize("form", FORMS)
def test_flags_in_a_cell_are_no_labels(form: str, tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", [FORMS[form](flags) for flags in FLAGS])
    with pytest.raises(UsageError, match=r"column 'labels': .* seems to be 3 flags.*Name these 3 labels in a classes"):
        open_data(str(folder))
    (folder / "classes.txt").write_text("sea\nsky\ncar\n", encoding="utf-8")
    data = open_data(str(folder))
    assert data.classes == ("sea", "sky", "car")
    for sample in data.samples:
        expected = FLAGS[int(sample.image.stem) % len(FLAGS)]
        assert sample.labels == tuple(label for label, flag in enumerate(expected) if flag)
    assert any("flags, such as" in note for note in data.notes)
    (folder / "classes.txt").write_text("sea\nsky\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"seems to be 3 flags.*next to the table, where there are 2"):
        open_data(str(folder))


def test_labels_called_0_and_1_stay_labels(tmp_path: Path):
    data = open_data(str(many_rows(tmp_path, "image,labels", ["0", "1", "0 1"])))
    assert data.classes == ("0", "1")
    assert {sample.labels for sample in data.samples} == {(0,), (1,), (0, 1)}


def test_digits_that_are_labels_can_be_said(tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", ["001", "010", "110"])
    assert open_data(str(folder), separator="none").classes == ("001", "010", "110")


def test_lists_and_labels_in_one_column_are_refused(tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", ["\"['cat', 'dog']\"", "cat", "['tree']"])
    with pytest.raises(UsageError, match=r"some cells are lists, such as \['cat', 'dog'\], and others are not.*'cat'"):
        open_data(str(folder))
    with pytest.raises(
        UsageError, match=r"labels\.csv row 3: expected a list of labels, as in all other cells, got 'c"
    ):
        open_data(str(folder), separator="list")


@pytest.mark.parametrize("mark", ["、", "，", "；"])
def test_marks_of_other_scripts_join(mark: str, tmp_path: Path):
    cells = ["猫", f"猫{mark}犬", "木", f"犬{mark}木"]
    data = open_data(str(many_rows(tmp_path, "image,labels", cells)))
    assert set(data.classes) == {"猫", "犬", "木"}


@pytest.mark.parametrize("mark", ["~", "::", "-", "_", " > ", "·"])
def test_any_mark_that_could_join_is_asked_about(mark: str, tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", ["cat", "dog", f"cat{mark}dog"])
    with pytest.raises(UsageError, match="one label or several"):
        open_data(str(folder))
    assert open_data(str(folder), separator=mark).classes == ("cat", "dog")
    assert len(open_data(str(folder), separator="none").classes) == 3


def test_a_mark_is_asked_about_where_no_label_stands_alone(tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", ["cat/dog", "dog/tree", "tree/cat/dog", "dog/cat"])
    with pytest.raises(UsageError, match="is 'cat/dog' one label or several"):
        open_data(str(folder))


@pytest.mark.parametrize("cells", [["#cat #dog", "#dog", "#cat #tree", "#tree"], ["t-shirt", "x-ray", "cat"]])
def test_marks_of_a_name_join_nothing(cells: list[str], tmp_path: Path):
    data = open_data(str(many_rows(tmp_path, "image,labels", cells)))
    assert len(data.classes) == 3


@pytest.mark.parametrize("flags", [("+1", "-1"), ("1.00", "0.00"), ("1.000000e+00", "0.000000e+00")])
def test_flags_are_numbers_however_they_are_written(flags: tuple[str, str], tmp_path: Path):
    yes, no = flags
    data = open_data(str(many_rows(tmp_path, "filename,cat,dog", [f"{yes},{no}", f"{no},{yes}"])))
    assert data.classes == ("cat", "dog")
    assert {sample.labels for sample in data.samples} == {(0,), (1,)}


def test_numbers_of_classes_are_labels_and_no_flags(tmp_path: Path):
    data = open_data(str(many_rows(tmp_path, "image,class_id", ["0", "1"])))
    assert data.classes == ("0", "1")


def test_marks_without_width_make_no_other_label(tmp_path: Path):
    cells = ["cat", "cat\u200b", "\ufeffcat", "c\u00adat"]
    assert open_data(str(many_rows(tmp_path, "image,labels", cells))).classes == ("cat",)


def test_a_table_in_the_only_split_folder_is_split_here(tmp_path: Path):
    many_rows(tmp_path / "train", "filename,cat,dog", ["1,0", "0,1"], name="_classes.csv")
    assert set(open_data(str(tmp_path)).splits) == {"train", "val", "test"}
