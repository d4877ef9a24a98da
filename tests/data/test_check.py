"""`inspect` reports every kind of fault, `summary` counts as a plain loop does."""

import json
import shutil
from pathlib import Path

import pytest
from make_layouts import csv_folder, make_voc
from PIL import Image

from mlkdc.data import open_data
from mlkdc.data.check import decode_all, inspect, unseen_labels
from mlkdc.data.summary import summary
from mlkdc.errors import UsageError
from mlkdc.images import Decoded
from mlkdc.records.data import DataSummary
from mlkdc.types import TaggedImages

GOOD = "image,labels,split\na.png,x|y,train\nb.png,x,train\nc.png,y|x,val\nd.png,x|y,test\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return csv_folder(tmp_path / "photos", GOOD)


def faults(folder: Path) -> list[tuple[str, str, str]]:
    problems = inspect(open_data(str(folder))).problems
    return [(problem.kind, Path(problem.where).name, problem.detail) for problem in problems]


def test_good_data_have_no_problem(folder: Path):
    assert faults(folder) == []


def test_files_that_cannot_be_used(folder: Path):
    (folder / "a.png").unlink()
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:200])
    (folder / "c.png").write_text("this is not an image", encoding="utf-8")
    kinds = [(kind, name) for kind, name, _ in faults(folder)]
    assert kinds == [("missing file", "a.png"), ("truncated image", "b.png"), ("unreadable image", "c.png")]
    samples = open_data(str(folder)).samples
    assert [problem.where for problem in decode_all(samples, threads=1).problems] == [
        str(sample.image) for sample in samples[:3]
    ]


def test_a_file_listed_twice_is_decoded_once(folder: Path, monkeypatch: pytest.MonkeyPatch):
    opened = []

    def decode(image: Path) -> Decoded:
        opened.append(image)
        return Decoded(Image.new("RGB", (4, 4)), "RGB")

    monkeypatch.setattr("mlkdc.data.check.decode", decode)
    samples = open_data(str(folder)).samples
    assert decode_all([*samples, *samples], threads=2).problems == []
    assert sorted(opened) == sorted(sample.image for sample in samples)


def test_image_without_labels(folder: Path):
    (folder / "labels.csv").write_text(GOOD.replace("b.png,x,", "b.png,,"), encoding="utf-8")
    assert faults(folder) == [("image without labels", "b.png", "in train")]


def test_duplicates_within_and_across_splits(folder: Path):
    (folder / "labels.csv").write_text(GOOD + "e.png,x,train\nf.png,x,train\n", encoding="utf-8")
    shutil.copy(folder / "c.png", folder / "e.png")
    shutil.copy(folder / "d.png", folder / "f.png")
    (folder / "labels.csv").write_text(
        (folder / "labels.csv").read_text(encoding="utf-8").replace("d.png,x|y,test", "d.png,x,train"), encoding="utf-8"
    )
    problems = [row for row in faults(folder) if row[0].startswith("duplicate")]
    assert problems == [
        ("duplicate image across splits", "c.png", f"same bytes as {folder / 'e.png'}; in val, train"),
        ("duplicate image", "d.png", f"same bytes as {folder / 'f.png'}; in train"),
    ]


def test_an_image_in_two_splits_is_refused(folder: Path):
    (folder / "labels.csv").write_text(GOOD + "./b.png,x,test\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"b\.png is listed in train and in test"):
        open_data(str(folder))


def test_equal_size_is_not_equal_content(folder: Path):
    for name in ("a.png", "b.png"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b"\0" * (2000 - len(content)))
    assert faults(folder) == []


def test_label_never_seen_in_training(folder: Path):
    (folder / "labels.csv").write_text(GOOD.replace("d.png,x|y", "d.png,x|y|new"), encoding="utf-8")
    assert faults(folder) == [
        ("label never seen in training", "new", "1 image in test, none in train"),
        ("label without a positive", "new", "in val"),
    ]


def test_training_on_train_and_val_sees_the_labels_of_both(folder: Path):
    (folder / "labels.csv").write_text(
        GOOD.replace("c.png,y|x", "c.png,y|x|new").replace("d.png,x|y", "d.png,new"), encoding="utf-8"
    )
    data = open_data(str(folder))
    assert [problem.where for problem in unseen_labels(data)] == ["new", "new"]
    assert unseen_labels(data, ("train", "val")) == []


def test_label_without_a_positive(folder: Path):
    (folder / "classes.txt").write_text("x\ny\nnever\n", encoding="utf-8")
    assert faults(folder) == [
        ("label without a positive", "never", f"in {split}") for split in ("train", "val", "test")
    ]


def test_what_the_reader_noticed_is_included(folder: Path):
    (folder / "classes.txt").write_text("x\n", encoding="utf-8")
    assert {kind for kind, _, _ in faults(folder)} == {"unknown label"}


def slow_counts(data: TaggedImages) -> dict[str, dict[str, int]]:
    counts = {split: dict.fromkeys(data.classes, 0) for split in data.splits}
    for sample in data.samples:
        for label in sample.labels:
            counts[sample.split][data.classes[label]] += 1
    return counts


def test_summary(folder: Path):
    (folder / "labels.csv").write_text(GOOD.replace("b.png,x,", "b.png,,"), encoding="utf-8")
    data = open_data(str(folder))
    record = summary(data)
    assert DataSummary(**json.loads(record.model_dump_json())) == record
    assert record.images == {"train": 2, "val": 1, "test": 1}
    assert record.counts == slow_counts(data)
    assert record.labels_per_image.model_dump() == {"mean": 1.5, "min": 0, "max": 2}
    assert (record.name, record.layout, record.classes, record.boxes) == ("photos", "csv", 2, 0)


def test_keys_of_the_summary_as_json(folder: Path):
    keys = ["name", "path", "layout", "split_from", "classes", "images", "labels_per_image", "boxes", "counts", "notes"]
    assert list(summary(open_data(str(folder))).model_dump(mode="json")) == keys


def test_summary_counts_boxes(tmp_path: Path):
    assert summary(open_data(str(make_voc(tmp_path)))).boxes == 5
