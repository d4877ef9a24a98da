"""Tables as programs write them: encodings, column separators, names of columns, flags, rows per label."""

import json
from pathlib import Path

import pytest
from make_layouts import csv_folder, many_rows, write_image

from mlkdc.data import open_data
from mlkdc.errors import UsageError
from mlkdc.types import TaggedImages

TEXT = "image,labels,split\na.png,K\u00e4tzchen|x,train\nb.png,x,test\n"


def labels_of(data: TaggedImages) -> dict[str, set[str]]:
    return {sample.image.name: {data.classes[label] for label in sample.labels} for sample in data.samples}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-32"])
def test_encodings(encoding: str, tmp_path: Path):
    folder = csv_folder(tmp_path / "t", TEXT)
    (folder / "labels.csv").write_bytes(TEXT.encode(encoding))
    data = open_data(str(folder))
    assert labels_of(data) == {"a.png": {"K\u00e4tzchen", "x"}, "b.png": {"x"}}
    assert any("Windows-1252" in note for note in data.notes) == (encoding == "cp1252")


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: "sep=;\n" + text.replace(",", ";"),
        lambda text: "# exported by a tool\n\n" + text,
        lambda text: text.replace("\n", ",\n"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("image,labels,split", " Image , LABELS, Split"),
        lambda text: text.replace("image,labels,split", "file_name,tags,subset"),
        lambda text: text.replace("image,labels,split", "filepath,label,split_name"),
    ],
)
def test_spellings_of_a_table(change, tmp_path: Path):
    folder = csv_folder(tmp_path / "t", TEXT)
    (folder / "labels.csv").write_bytes(change(TEXT).encode())
    data = open_data(str(folder))
    assert labels_of(data) == {"a.png": {"K\u00e4tzchen", "x"}, "b.png": {"x"}}
    assert data.splits == ("train", "test")
    assert data.problems == ()


def test_one_row_per_label_is_one_image(tmp_path: Path):
    rows = ["image,labels"]
    for number in range(30):
        write_image(tmp_path / f"{number}.png")
        rows += [f"{number}.png,a", f"./{number}.png,b", f"{number}.png,a"]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    data = open_data(str(tmp_path))
    assert len(data.samples) == 30
    assert {sample.labels for sample in data.samples} == {(0, 1)}
    assert "90 rows list 30 images: the labels of an image are joined" in data.notes


@pytest.mark.parametrize(
    ("cells", "note"),
    [
        (["1,0", "0,1", "1,1", "0,0"], None),
        (["1.0,0.0", "0.0,1.0", "1.0,1.0", "0.0,0.0"], None),
        (["True,False", "False,True", "True,True", "False,False"], None),
        (["1,-1", "-1,1", "1,1", "-1,-1"], "-1 is read as no label"),
        (["1,0", "-1,1", "1,1", "0,-1"], "only 1 is a label"),
        (["1,", ",1", "1,1", ","], "empty cell"),
    ],
)
def test_one_column_per_label(cells: list[str], note: str | None, tmp_path: Path):
    data = open_data(str(many_rows(tmp_path, "filename, zebra, ant", cells)))
    assert data.classes == ("zebra", "ant")
    by_number = sorted(data.samples, key=lambda sample: int(sample.image.stem))
    assert [sample.labels for sample in by_number[:4]] == [(0,), (1,), (0, 1), ()]
    assert data.problems == ()
    assert [note in said for said in data.notes] == [True] * (note is not None)


def test_columns_that_are_no_labels(tmp_path: Path):
    rows = [f"{number},{number}.png,{640 + number},{number % 2},1" for number in range(24)]
    for number in range(24):
        write_image(tmp_path / f"{number}.png")
    (tmp_path / "labels.csv").write_text("\n".join([",image,width,cat,dog", *rows]) + "\n", encoding="utf-8")
    data = open_data(str(tmp_path))
    assert data.classes == ("cat", "dog")
    assert [problem.detail for problem in data.problems] == ["width"]


def test_rows_without_a_split_are_left_out_and_said(tmp_path: Path):
    text = "image,labels,split\na.png,x,train\nb.png,x,\nc.png,x,dev\n"
    data = open_data(str(csv_folder(tmp_path / "t", text)))
    assert [(sample.image.name, sample.split) for sample in data.samples] == [("a.png", "train"), ("c.png", "val")]
    assert [str(problem) for problem in data.problems] == [
        f"images in no split: {tmp_path / 't/labels.csv'} (1 row without a split left out: 3)"
    ]


def test_a_column_that_says_what_is_validated_on(tmp_path: Path):
    text = "fname,labels,is_valid\na.png,x y,True\nb.png,x,False\nc.png,y,false\n"
    data = open_data(str(csv_folder(tmp_path / "t", text)))
    assert [sample.split for sample in data.samples] == ["val", "train", "train"]
    assert data.classes == ("x", "y")
    flags = "image,cat,dog,partition\n" + "".join(f"{number}.png,1,0,{number % 2}\n" for number in range(24))
    data = open_data(str(csv_folder(tmp_path / "flags", flags)))
    assert data.classes == ("cat", "dog")
    assert [problem.detail for problem in data.problems] == ["partition"]


def test_ids_are_names_of_files(tmp_path: Path):
    rows = [f"id{number},{('5 0', '25', '5', '0 25 5')[number % 4]}" for number in range(24)]
    for number in range(24):
        write_image(tmp_path / f"train/id{number}.png")
    (tmp_path / "train.csv").write_text("\n".join(["id,attribute_ids", *rows]) + "\n", encoding="utf-8")
    data = open_data(str(tmp_path))
    assert data.classes == ("0", "25", "5")
    assert all(sample.image.is_file() for sample in data.samples)


def test_labels_that_look_like_others_are_named(tmp_path: Path):
    folder = many_rows(tmp_path, "image,labels", ["cat|dog", '"cat, dog"', "Cat", "bird"])
    data = open_data(str(folder), separator="pipe")
    assert [str(problem) for problem in data.problems] == [
        "similar labels: Cat / cat",
        "label made of others: cat, dog (cat, dog are labels too)",
    ]


def test_an_id_of_an_image_is_no_path_where_there_is_a_path(tmp_path: Path):
    rows = [f"{number},{23 - number}.png,cat" for number in range(24)]
    for number in range(24):
        write_image(tmp_path / f"{number}.png")
    (tmp_path / "labels.csv").write_text("\n".join(["image_id,filename,class", *rows]) + "\n", encoding="utf-8")
    data = open_data(str(tmp_path))
    assert data.samples[0].image.name == "23.png"


def test_nan_is_no_label_where_it_stands_alone(tmp_path: Path):
    folder = many_rows(tmp_path / "missing", "image,labels", ["cat|dog", "nan", "NaN", ""])
    data = open_data(str(folder))
    assert data.classes == ("cat", "dog")
    assert any("12 cells with 'nan'" in note for note in data.notes)
    folder = many_rows(tmp_path / "label", "image,labels", ["nan|dog", "nan", "None", "dog"])
    data = open_data(str(folder))
    assert data.classes == ("None", "dog", "nan")
    assert all(sample.labels for sample in data.samples)


def test_a_table_for_each_split(tmp_path: Path):
    csv_folder(tmp_path, "image,labels\na.png,x|y\n", name="train.csv")
    csv_folder(tmp_path, "image,labels\nb.png,y\n", name="test_labels.csv")
    data = open_data(str(tmp_path))
    assert {(sample.image.name, sample.split) for sample in data.samples} == {("a.png", "train"), ("b.png", "test")}
    csv_folder(tmp_path, "image,labels\nb.png,y\n", name="more.csv")
    with pytest.raises(UsageError, match=r"several tables with images and labels: .*more\.csv"):
        open_data(str(tmp_path))


def test_a_table_in_each_folder(tmp_path: Path):
    for folder, image in (("train", "a.png"), ("valid", "b.png")):
        csv_folder(tmp_path / folder, f"filename, cat, dog\n{image}, 1, 0\n", name="_classes.csv")
    data = open_data(str(tmp_path))
    assert [(sample.image.name, sample.split) for sample in data.samples] == [("a.png", "train"), ("b.png", "val")]


def test_other_tables_are_passed_over(tmp_path: Path):
    folder = csv_folder(tmp_path, "image,labels,split\na.png,x,train\n", name="annotations.csv")
    (folder / "metadata.csv").write_text("image,camera\na.png,Leica\n", encoding="utf-8")
    (folder / "sample_submission.csv").write_text("image,labels\na.png,x y\n", encoding="utf-8")
    assert labels_of(open_data(str(folder))) == {"a.png": {"x"}}


def test_json_lines(tmp_path: Path):
    for name in ("a.png", "b.png"):
        write_image(tmp_path / name)
    records = [
        {"file_name": "a.png", "labels": ["x", "y z"], "split": "train"},
        {"file_name": "b.png", "labels": [], "split": "test"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")
    assert labels_of(open_data(str(tmp_path))) == {"a.png": {"x", "y z"}, "b.png": set()}
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "labels": ["x"]}\n[1]\n', encoding="utf-8")
    with pytest.raises(UsageError, match="line 2: expected a JSON object"):
        open_data(str(tmp_path))


def test_open_images_rows_of_confidence_0_say_no(tmp_path: Path):
    rows = ["ImageID,Source,LabelName,Confidence"]
    for number in range(24):
        write_image(tmp_path / f"train/{number:04d}.png")
        rows += [f"{number:04d},verification,/m/01,1", f"{number:04d},verification,/m/02,{number % 2}"]
    table = tmp_path / "train-annotations-human-imagelabels.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "class-descriptions.csv").write_text("/m/01,Cat\n/m/02,Dog\n", encoding="utf-8")
    data = open_data(str(tmp_path))
    assert data.classes == ("Cat", "Dog")
    for sample in data.samples:
        assert sample.labels == ((0, 1) if int(sample.image.stem) % 2 else (0,))
    table.write_text("\n".join([*rows, "0000,machine,/m/01,0.7"]) + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"row 50: column 'Confidence' holds '0\.7'"):
        open_data(str(tmp_path))
    (tmp_path / "class-descriptions.csv").write_text("/m/01\n/m/02\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"class-descriptions\.csv: expected two columns, .* got 1; correct"):
        open_data(str(tmp_path))


def test_a_quote_that_never_closes_in_a_large_table(tmp_path: Path):
    lines = "".join(f"{number}.png,cat\n" for number in range(20_000))
    for text in ('"image,labels\n' + lines, "image,labels\na.png,cat\n" + '"b.png,cat\n' + lines):
        (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=r"row [13]: not a well-formed table .*a quote there that never closes"):
            open_data(str(tmp_path))
