"""Image paths that do not lead to a file as written: found where it is clear, else said with what to do."""

import unicodedata
from pathlib import Path

import pytest
from make_layouts import write_image

from mlkdc.data import open_data
from mlkdc.errors import UsageError
from mlkdc.types import TaggedImages


def table(root: Path, written: list[str]) -> Path:
    rows = [f'"{name}",{"xy"[at % 2]},{"train" if at % 3 else "test"}' for at, name in enumerate(written)]
    root.mkdir(parents=True, exist_ok=True)
    (root / "labels.csv").write_text("\n".join(["image,labels,split", *rows]) + "\n", encoding="utf-8")
    return root


def stored(root: Path, pattern: str) -> list[Path]:
    return [write_image(root / pattern.format(number)) for number in range(6)]


def found(data: TaggedImages) -> list[Path]:
    return [sample.image for sample in data.samples]


@pytest.mark.parametrize(
    ("on_disk", "written", "note"),
    [
        ("img/{}.png", "img\\{}.png", "spelled otherwise"),
        ("img/{}.png", ".\\Img\\{}.PNG", "spelled otherwise"),
        ("img/{}.PNG", "img/{}.png", "spelled otherwise"),
        ("img/{}.jpeg", "img/{}.JPG", "spelled otherwise"),
        ("img/{}.png", "img/{}", "spelled otherwise"),
        ("img/v1.{}.png", "img/v1.{}", "spelled otherwise"),
        ("img/{}.png", "/home/someone/data/img/{}.png", "found in img/"),
        ("img/{}.png", "C:\\Users\\someone\\img\\{}.png", "found in img/"),
        ("img/{}.png", "{}.png", "found in img/"),
        ("img/{}.png", "https://example.org/img/{}.png", "found in img/"),
        ("img/{}.png", "https://example.org/img/{}.png?w=80&fm=png", "found in img/"),
        ("img/a/{}.png", "{}", "found in img/a/"),
        ("img/a photo {}.png", "img/a%20photo%20{}.png", "spelled otherwise"),
        ("img/{}.png", "data/img/{}.png", "found in img/"),
        ("img/{}.png", "file:///home/img/{}.png", "found in img/"),
    ],
)
def test_paths_written_otherwise(on_disk: str, written: str, note: str, tmp_path: Path):
    files = stored(tmp_path, on_disk)
    data = open_data(str(table(tmp_path, [written.format(number) for number in range(6)])))
    assert found(data) == files
    assert [note in said for said in data.notes] == [True]


def test_paths_that_are_right_are_left_alone(tmp_path: Path):
    files = stored(tmp_path, "img/{}.png")
    stored(tmp_path, "other/{}.png")
    data = open_data(str(table(tmp_path, [f"./img/{number}.png" for number in range(6)])))
    assert found(data) == files
    assert data.notes == ()


def test_composed_and_decomposed_accents(tmp_path: Path):
    name = "b\u00e4r/K\u00e4tzchen{}.png"
    files = stored(tmp_path, unicodedata.normalize("NFD", name))
    data = open_data(str(table(tmp_path, [unicodedata.normalize("NFC", name).format(at) for at in range(6)])))
    assert found(data) == files


@pytest.mark.parametrize(
    ("escape", "shown"), [(r"\u0000", r"\x00"), (r"\ud800", r"\ud800")], ids=["zero byte", "half a character"]
)
def test_a_path_that_no_file_can_have_is_refused(escape: str, shown: str, tmp_path: Path):
    stored(tmp_path, "{}.png")
    rows = [f'{{"image": "{number}.png", "labels": ["x"]}}' for number in range(6)]
    (tmp_path / "labels.jsonl").write_text("\n".join([*rows, rows[0].replace("0", escape)]), encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        open_data(str(tmp_path))
    assert f"{shown}.png', which no file can have; correct it" in str(caught.value)


def test_one_missing_image_is_not_looked_for_elsewhere(tmp_path: Path):
    stored(tmp_path, "img/{}.png")
    (tmp_path / "img/3.png").unlink()
    stored(tmp_path, "backup/{}.png")
    data = open_data(str(table(tmp_path, [f"img/{number}.png" for number in range(6)])))
    assert found(data)[3] == tmp_path / "img/3.png"


def test_another_suffix_is_another_file(tmp_path: Path):
    stored(tmp_path, "img/{}.png")
    data = open_data(str(table(tmp_path, [f"img/{number}.jpg" for number in range(6)])))
    assert not any(image.exists() for image in found(data))
    assert "0.png is there: if that is the image, correct the suffix in the labels" in data.notes[0]


def test_two_places_are_summed_up_and_chosen(tmp_path: Path):
    files = stored(tmp_path, "thumbs/{}.png")
    stored(tmp_path, "full/{}.png")
    folder = table(tmp_path, [f"{number}.png" for number in range(6)])
    data = open_data(str(folder))
    (note,) = data.notes
    assert "6 of 6 images are missing" in note
    assert f"files of these names are in full/, thumbs/: choose with `--set data.images={tmp_path / 'full'}`" in note
    assert found(open_data(str(folder), images=str(tmp_path / "thumbs"))) == files
    with pytest.raises(UsageError, match=r"data\.images=.*no such folder"):
        open_data(str(folder), images=str(tmp_path / "nowhere"))


def test_folders_of_splits_are_told_apart(tmp_path: Path):
    for split in ("train", "test"):
        stored(tmp_path, split + "/{}.png")
    data = open_data(str(table(tmp_path, [f"{number}.png" for number in range(6)])))
    assert [image.parent.name for image in found(data)] == [sample.split for sample in data.samples]


def test_addresses_must_be_downloaded(tmp_path: Path):
    data = open_data(str(table(tmp_path, [f"https://example.org/{number}.png" for number in range(6)])))
    assert "they are web addresses: download them" in data.notes[0]


def test_names_without_what_label_studio_puts_before_them(tmp_path: Path):
    files = stored(tmp_path, "img/{}.png")
    data = open_data(str(table(tmp_path, [f"/data/upload/3/0a1b2c3{number}-{number}.png" for number in range(6)])))
    assert found(data) == files
    assert any(note.startswith("6 of these were found without what Label Studio puts") for note in data.notes)


def test_an_uploaded_name_counts_where_there_is_such_a_file(tmp_path: Path):
    stored(tmp_path, "img/{}.png")
    files = stored(tmp_path, "img/0a1b2c3d-{}.png")
    data = open_data(str(table(tmp_path, [f"/data/upload/3/0a1b2c3d-{number}.png" for number in range(6)])))
    assert found(data) == files
    assert not any("Label Studio" in note for note in data.notes)


@pytest.mark.parametrize("written", ["{}", "{}.0", "{}.png"])
def test_numbers_for_names_are_told_the_name(written: str, tmp_path: Path):
    stored(tmp_path, "img/00000{}.png")
    data = open_data(str(table(tmp_path, [written.format(number) for number in range(6)])))
    assert any("000000.png is there: if that is the image, write its name" in note for note in data.notes)
