"""What joins labels in a cell: found from the complete column, said, refused where it could be either."""

from pathlib import Path

import pytest
from make_layouts import csv_folder, many_rows

from mlkdc.data import open_data
from mlkdc.errors import UsageError

ANIMALS = ("cat", "dog", "tree")
JOINED = [("cat",), ("cat", "dog"), ("dog", "tree"), ("cat", "dog", "tree"), ("tree",), ("dog",)]


def joined_by(mark: str) -> list[str]:
    return ['"' + mark.join(labels) + '"' for labels in JOINED]


@pytest.mark.parametrize("mark", ["|", ",", ", ", ";", "; ", " "])
def test_labels_joined_by(mark: str, tmp_path: Path):
    data = open_data(str(many_rows(tmp_path, "image,labels", joined_by(mark))))
    assert data.classes == ANIMALS
    for at, sample in enumerate(sorted(data.samples, key=lambda sample: int(sample.image.stem))):
        assert tuple(data.classes[label] for label in sample.labels) == JOINED[at % len(JOINED)]
    assert any("joined by" in note for note in data.notes) == (mark != "|")


@pytest.mark.parametrize(
    "cells",
    [
        ["\"['cat', 'dog']\"", "['tree']", "[]", "\"['dog', 'tree']\""],
        ['"[""cat"", ""dog""]"', '"[""tree""]"', "[]", '"[""dog"", ""tree""]"'],
        ["['cat' 'dog']", "['tree']", "[]", "['dog' 'tree']"],
        ['"[cat, dog]"', "[tree]", "[]", '"[dog,tree]"'],
        ['"{cat,dog}"', "{tree}", "{}", '"{dog,tree}"'],
    ],
    ids=["python", "json", "numpy", "bare", "postgres"],
)
def test_lists(cells: list[str], tmp_path: Path):
    data = open_data(str(many_rows(tmp_path, "image,labels", cells)))
    assert data.classes == ANIMALS
    assert {tuple(data.classes[label] for label in sample.labels) for sample in data.samples} == {
        ("cat", "dog"),
        ("tree",),
        (),
        ("dog", "tree"),
    }


def test_names_of_two_words_stay_one_label(tmp_path: Path):
    cells = ["traffic light", "fire hydrant", "person", "potted plant"]
    data = open_data(str(many_rows(tmp_path, "image,labels", cells)))
    assert data.classes == tuple(sorted(cells))
    assert any("one label a cell" in note for note in data.notes)


@pytest.mark.parametrize(
    ("cells", "word"),
    [
        # Colors and things: tags, or names of things in colors?
        (["red car", "red bus", "blue car", "blue bus"], "blank"),
        ([f"{color} {thing}" for color in ("red", "blue", "pink") for thing in ("car", "bus", "van")], "blank"),
        (["hot dog", "dog", "cat"], "blank"),
        (["cat", "dog", "dog/cat"], "/"),
        (["cat", "dog", "dog+cat"], r"\+"),
        (['"Smith, John"', '"Doe, Jane"', "others"], "comma"),
    ],
)
def test_what_could_be_either_is_refused_and_can_be_said(cells: list[str], word: str, tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", cells)
    with pytest.raises(UsageError, match=f"one label or several.*--set data.separator={word}"):
        open_data(str(folder))
    names = tuple(sorted(cell.strip('"') for cell in cells))
    assert open_data(str(folder), separator="none").classes == names
    assert len(open_data(str(folder), separator=word.strip("\\")).classes) > 1


@pytest.mark.parametrize("odd", ['"cat,dog"', "cat;dog"])
def test_cells_joined_in_two_ways_are_refused(odd: str, tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", ["cat|dog", "tree", odd])
    with pytest.raises(UsageError, match=r"joined by \| in some cells and seem joined by (comma|semicolon)s"):
        open_data(str(folder))
    assert odd.strip('"') in open_data(str(folder), separator="pipe").classes


def test_a_comma_in_a_label_next_to_joined_ones_is_part_of_it(tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", ["cat|dog", '"bread, fresh|dog"'])
    assert open_data(str(folder)).classes == ("bread, fresh", "cat", "dog")


def test_hierarchies_stay_names(tmp_path: Path):
    cells = ["animal/cat", "animal/dog", "plant > tree"]
    assert open_data(str(many_rows(tmp_path, "image,labels", cells)), separator=None).classes == tuple(cells)


def test_classes_file_decides(tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", ["hot dog", "dog", "cat"])
    (folder / "classes.txt").write_text("hot dog\ndog\ncat\n", encoding="utf-8")
    assert open_data(str(folder)).classes == ("hot dog", "dog", "cat")
    (folder / "classes.txt").write_text("hot\ndog\ncat\n", encoding="utf-8")
    data = open_data(str(folder))
    assert {sample.labels for sample in data.samples} == {(0, 1), (1,), (2,)}


def test_separator_is_for_tables_and_not_empty(tmp_path: Path):
    folder = csv_folder(tmp_path / "t", "image,labels,split\na.png,x,train\n")
    with pytest.raises(UsageError, match=r"data\.separator is empty"):
        open_data(str(folder), separator="")


def test_a_line_break_in_a_label_is_a_blank(tmp_path: Path):
    cells = ['"dog\nhound"', "cat\u0085fish", "bird"]
    data = open_data(str(many_rows(tmp_path, "image,labels", cells)), separator="none")
    assert data.classes == ("bird", "cat fish", "dog hound")


@pytest.mark.parametrize("word", ["commas", "space", "pipes", "slash"])
def test_a_word_that_stands_for_no_mark_is_refused(word: str, tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", ['"cat, dog"', "cat", "dog"])
    with pytest.raises(UsageError, match=f"unknown data.separator '{word}'; (did you mean|valid:)"):
        open_data(str(folder), separator=word)


def test_words_are_taken_in_any_case(tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", ['"cat, dog"', "cat", "dog"])
    assert open_data(str(folder), separator="Comma").classes == ("cat", "dog")


@pytest.mark.parametrize("mark", [";", "blank"])
def test_a_chosen_mark_that_is_in_no_cell_is_noted(mark: str, tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", ['"cat,dog"', "cat", "dog"])
    data = open_data(str(folder), separator=mark)
    assert data.classes == ("cat", "cat,dog", "dog")
    word = {";": "semicolon", "blank": "blank"}[mark]
    assert f"labels.csv, column 'labels': {word} is in no cell, so that each cell is one label" in data.notes
    assert not any("is in no cell" in note for note in open_data(str(folder), separator=",").notes)


def test_a_mark_is_not_looked_for_where_columns_are_labels(tmp_path: Path):
    folder = many_rows(tmp_path, "image,cat,dog", ["1,0", "0,1", "1,1"])
    assert not open_data(str(folder), separator=";").notes
