"""Images that a run has seen are known again, also where their folders have other names."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_training import tiny_recipe

from mlkdc.data import open_data
from mlkdc.data.listing import known_splits, list_images
from mlkdc.data.runs import resumed_data
from mlkdc.records.images import ImageList
from mlkdc.records.run import CLASSES_FILE, Run


def write(folder: Path, names: list[str], seed: int, label: str = "cat") -> Path:
    """Images of noise, whose files differ in size, half of them to train on."""
    random = np.random.default_rng(seed)
    rows = ["image,labels,split"]
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        side = 8 + number
        Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)
        rows.append(f"{name},{label}|dog,{'train' if number % 2 == 0 else 'test'}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def known(data: Path, run: Path) -> list[str | None]:
    return known_splits(open_data(str(data)), list_images(open_data(str(run))))


def test_in_another_folder_they_are_the_same(tmp_path: Path) -> None:
    run = write(tmp_path / "run", ["img/a.png", "img/b.png", "img/c.png"], seed=0)
    flat = tmp_path / "flat"
    shutil.copytree(run / "img", flat)
    table = (run / "labels.csv").read_text(encoding="utf-8")
    (flat / "labels.csv").write_text(table.replace("img/", ""), encoding="utf-8")
    assert known(flat, run) == ["train", "test", "train"]


def test_an_image_of_several_splits_is_one_that_was_trained_on(tmp_path: Path) -> None:
    run = write(tmp_path / "run", ["a.png", "b.png"], seed=0)  # train, test
    shutil.copy(run / "b.png", run / "a.png")
    other = write(tmp_path / "other", ["q.png"], seed=1)
    shutil.copy(run / "b.png", other / "q.png")
    assert known(other, run) == ["train"]


def test_without_digests_a_name_and_either_size_or_labels_make_an_image_known(tmp_path: Path) -> None:
    run = write(tmp_path / "run", ["a.bmp", "b.bmp"], seed=0)
    listed = list_images(open_data(str(run)))
    images = tuple(image.model_copy(update={"content": None}) for image in listed.images)
    old = listed.model_copy(update={"folder": "gone", "images": images})
    relabeled = open_data(str(write(tmp_path / "relabeled", ["a.bmp", "b.bmp"], seed=0, label="dog")))
    assert known_splits(relabeled, old) == ["train", "test"]


def test_other_labels_or_another_size_make_another_image(tmp_path: Path) -> None:
    run = write(tmp_path / "run", ["img/a.bmp", "img/b.bmp"], seed=0)
    # As many bytes, in a folder of another name.
    assert known(write(tmp_path / "other", ["a.bmp", "b.bmp"], seed=1, label="dog"), run) == [None, None]
    assert known(write(tmp_path / "larger", ["0.bmp", "a.bmp"], seed=1), run) == [None, None]


def test_file_names_that_occur_twice_tell_nothing(tmp_path: Path) -> None:
    run = write(tmp_path / "run", ["x/a.bmp", "b.bmp"], seed=0)
    shutil.copytree(run, tmp_path / "copy")
    (tmp_path / "copy" / "x").rename(tmp_path / "copy" / "y")
    table = (run / "labels.csv").read_text(encoding="utf-8").replace("x/", "y/")
    (tmp_path / "copy" / "labels.csv").write_text(table, encoding="utf-8")
    assert known(tmp_path / "copy", run) == ["train", "test"]
    write(tmp_path / "copy" / "z", ["a.bmp"], seed=2)
    (tmp_path / "copy" / "z" / "labels.csv").unlink()
    (tmp_path / "copy" / "labels.csv").write_text(table + "z/a.bmp,cat|dog,test\n", encoding="utf-8")
    assert known(tmp_path / "copy", run) == ["train", "test", None]
    # The contents told it: without them, names do not.
    listed = list_images(open_data(str(run)))
    images = tuple(image.model_copy(update={"content": None}) for image in listed.images)
    old = listed.model_copy(update={"images": images})
    assert known_splits(open_data(str(tmp_path / "copy")), old) == [None, "test", None]


def test_copies_under_other_names_and_with_other_labels_are_the_same(tmp_path: Path) -> None:
    run = write(tmp_path / "run", ["img/a.png", "img/b.png", "img/c.png"], seed=0)
    other = write(tmp_path / "other", ["q.png", "new.png"], seed=1, label="dog")
    shutil.copy(run / "img" / "c.png", other / "q.png")
    assert known(other, run) == ["train", None]
    # As large as the run's, and another image.
    content = bytearray((run / "img" / "c.png").read_bytes())
    content[-1] ^= 1
    (other / "q.png").write_bytes(content)
    assert known(other, run) == [None, None]


def test_a_list_of_format_1_has_no_digests(tmp_path: Path) -> None:
    run = write(tmp_path / "run", ["img/a.png", "img/b.png"], seed=0)
    listed = list_images(open_data(str(run)))
    listed.save(tmp_path)
    assert ImageList.load(tmp_path) == listed
    assert listed.images[0].content == hashlib.sha256((run / "img" / "a.png").read_bytes()).hexdigest()[:24]
    head, *rows = (tmp_path / ImageList.FILE).read_text(encoding="utf-8").splitlines()
    old = [head.replace('"format": 2', '"format": 1'), *(json.dumps(json.loads(row)[:4]) for row in rows)]
    (tmp_path / ImageList.FILE).write_text("\n".join(old) + "\n", encoding="utf-8")
    read = ImageList.load(tmp_path)
    assert read is not None
    assert [image.content for image in read.images] == [None, None]
    assert known_splits(open_data(str(run)), read) == ["train", "test"]


def test_splits_that_the_data_has_gained_are_said_and_do_not_count(tmp_path: Path) -> None:
    photos, run = tmp_path / "photos", Run(tmp_path / "run")
    table = write(photos, [f"{number}.png" for number in range(24)], seed=0) / "labels.csv"
    with_splits = table.read_text(encoding="utf-8")
    table.write_text("\n".join(line.rpartition(",")[0] for line in with_splits.splitlines()) + "\n", encoding="utf-8")
    data = open_data(str(photos))
    run.path.mkdir()
    list_images(data).save(run.path)
    (run.path / CLASSES_FILE).write_text("\n".join(data.classes) + "\n", encoding="utf-8")
    lines: list[str] = []
    assert resumed_data(run, tiny_recipe(photos), lines.append).data.samples == data.samples
    assert lines == []
    table.write_text(with_splits, encoding="utf-8")
    assert resumed_data(run, tiny_recipe(photos), lines.append).data.samples == data.samples
    moved = sum(now.split != then.split for now, then in zip(open_data(str(photos)).samples, data.samples, strict=True))
    assert moved
    assert len(lines) == 1
    assert f"{moved} images in another split, used in the one that the run began with (" in lines[0]
