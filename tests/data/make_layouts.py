"""Writes one small data set in every layout, and says what a reader must get from it.

Every maker returns the path to open. All of them put the same kind of thing on disk: tiny real images.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

VOC_OBJECT = (
    "<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
    "<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox><part><name>head</name></part></object>"
)
COCO_CATEGORIES = [{"id": 9, "name": "boat"}, {"id": 1, "name": "person"}, {"id": 3, "name": "car"}]
POTENTIAL = [
    *("animals", "baby", "bird", "car", "clouds", "dog", "female", "flower", "food", "indoor", "lake", "male"),
    *("night", "people", "plant_life", "portrait", "river", "sea", "sky", "structures", "sunset", "transport"),
    *("tree", "water"),
]


def write_image(path: Path, seed: int = 0) -> Path:
    """A small image that no other seed has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *map(ord, path.name)]).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def csv_folder(root: Path, text: str, name: str = "labels.csv", classes: str | None = None) -> Path:
    """A table with this text, and an image for every path in its first column."""
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
    for line in text.splitlines()[1:]:
        image = line.replace("\t", ",").split(",")[0]
        if image:
            write_image(root / image)
    if classes is not None:
        (root / "classes.txt").write_text(classes, encoding="utf-8")
    return root


def many_rows(
    folder: Path, header: str, cells: list[str], images: str = "{number}.png", name: str = "labels.csv"
) -> Path:
    """A table of 24 images, whose other cells take turns; too many images to be refused a split."""
    lines = [header]
    for number in range(24):
        image = images.format(number=number)
        write_image(folder / image)
        lines.append(f"{image},{cells[number % len(cells)]}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def make_csv(root: Path) -> Path:
    """Splits train, val, test in their several spellings; an image without labels."""
    text = "image,labels,split\na.png,dog|cat,train\nb.png,cat,Validation\nsub/c.png,,testing\nd.png,bird,training\n"
    return csv_folder(root, text)


def voc_xml(objects: list[tuple[str, int, tuple[int, int, int, int]]]) -> str:
    """Annotation text; an object is (name, difficult, (xmin, ymin, xmax, ymax))."""
    parts = [
        VOC_OBJECT.format(name=name, difficult=difficult, left=box[0], top=box[1], right=box[2], bottom=box[3])
        for name, difficult, box in objects
    ]
    return f"<annotation><size><width>16</width></size>{''.join(parts)}</annotation>"


def make_voc(root: Path, year: str = "VOC2007") -> Path:
    """000001 train: dog, person; 000002 val: difficult cat only; 000003 test: two persons. Returns VOCdevkit."""
    folder = root / "VOCdevkit" / year
    images = {
        "train": ("000001", [("person", 0, (1, 1, 5, 12)), ("dog", 0, (3, 4, 10, 11))]),
        "val": ("000002", [("cat", 1, (2, 2, 9, 9))]),
        "test": ("000003", [("person", 0, (1, 1, 5, 5)), ("person", 1, (6, 6, 8, 8))]),
    }
    (folder / "ImageSets/Main").mkdir(parents=True)
    (folder / "Annotations").mkdir()
    for split, (name, objects) in images.items():
        (folder / f"ImageSets/Main/{split}.txt").write_text(f"{name}\n", encoding="utf-8")
        (folder / f"Annotations/{name}.xml").write_text(voc_xml(objects), encoding="utf-8")
        write_image(folder / f"JPEGImages/{name}.jpg")
    # The devkit has one list per class and split as well; they are not split lists.
    (folder / "ImageSets/Main/dog_train.txt").write_text("000001  1\n", encoding="utf-8")
    return root / "VOCdevkit"


def make_voclists(root: Path) -> Path:
    """a train: cat, dog (difficult); b train: none; c val: dog."""
    lists = {
        "cat_trainval": "a  1\nb -1\nc -1\n",
        "dog_train": "a  0\nb -1\n",
        "dog_val": "c  1\n",
        "cat_train": "a  1\nb -1\n",
        "cat_val": "c -1\n",
    }
    (root / "ImageSets/Main").mkdir(parents=True)
    for name, text in lists.items():
        (root / f"ImageSets/Main/{name}.txt").write_text(text, encoding="utf-8")
    for name in "abc":
        write_image(root / f"JPEGImages/{name}.jpg")
    return root


def make_coco(root: Path, year: str = "2014") -> Path:
    """train: one image with a boat and a person crowd, one without annotation; val: one image with two cars."""
    boxes = {
        "train": [(11, 9, [1.5, 2, 4, 5.5], 0), (11, 1, [0, 0, 8, 8], 1)],
        "val": [(21, 3, [1, 1, 2, 2], 0), (21, 3, [5, 5, 3, 3], 0)],
    }
    images = {"train": [11, 12], "val": [21]}
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split in images:
        named = {number: f"COCO_{split}{year}_{number:012d}.jpg" for number in images[split]}
        content = {
            "images": [{"id": number, "file_name": name} for number, name in named.items()],
            "annotations": [
                {"id": at, "image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd}
                for at, (image, category, box, crowd) in enumerate(boxes[split])
            ],
            "categories": COCO_CATEGORIES,
        }
        (root / f"annotations/instances_{split}{year}.json").write_text(json.dumps(content), encoding="utf-8")
        for name in named.values():
            write_image(root / f"{split}{year}" / name)
    (root / f"annotations/captions_val{year}.json").write_text("{}", encoding="utf-8")
    return root


def make_nuswide(root: Path) -> Path:
    """Two train images and one test image; concepts sky, airport, water in this order."""
    concepts = ["sky", "airport", "water"]
    rows = {
        "Train": [("actor\\0001_1.jpg", "101"), ("zoo\\0002_2.jpg", "000")],
        "Test": [("actor\\0003_3.jpg", "011")],
    }
    truth = root / "Groundtruth/TrainTestLabels"
    truth.mkdir(parents=True)
    (root / "ImageList").mkdir()
    (root / "Concepts81.txt").write_text("\n".join(concepts) + "\n", encoding="utf-8")
    for part, images in rows.items():
        (root / f"ImageList/{part}Imagelist.txt").write_text(
            "".join(f"{name} \r\n" for name, _ in images), encoding="utf-8"
        )
        for at, concept in enumerate(concepts):
            (truth / f"Labels_{concept}_{part}.txt").write_text(
                "".join(f"{flags[at]}\n" for _, flags in images), encoding="utf-8"
            )
        for name, _ in images:
            write_image(root / "Flickr" / name.replace("\\", "/"))
    return root


def make_mirflickr(root: Path, images: int = 24) -> Path:
    """im<k>.jpg is "sky" when k is even, "water" when k % 3 == 0; the strict list sky_r1 holds im2 only."""
    annotations = root / "mirflickr25k_annotations_v080"
    annotations.mkdir(parents=True)
    members = {name: [] for name in POTENTIAL}
    members["sky"] = [number for number in range(1, images + 1) if number % 2 == 0]
    members["water"] = [number for number in range(1, images + 1) if number % 3 == 0]
    for name, numbers in {**members, "sky_r1": [2]}.items():
        (annotations / f"{name}.txt").write_text("".join(f"{number}\r\n" for number in numbers), encoding="utf-8")
    (annotations / "README.txt").write_text("MIRFLICKR annotations\n", encoding="utf-8")
    for number in range(1, images + 1):
        write_image(root / f"mirflickr/im{number}.jpg")
    (root / "mirflickr/doc").mkdir()
    return root


def make_yolo(root: Path) -> Path:
    """One image in train and one in val, each with two boxes of one class."""
    for split in ("train", "val"):
        write_image(root / f"images/{split}/{split}.png")
        (root / f"labels/{split}").mkdir(parents=True)
    for split in ("train", "val"):
        (root / f"labels/{split}/{split}.txt").write_text("1 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.1 0.1\n", encoding="utf-8")
    (root / "data.yaml").write_text("names: [cat, dog]\n", encoding="utf-8")
    return root


def make_imagelist(root: Path) -> Path:
    """One image in train, one in test."""
    for split, flags in (("train", "1 0"), ("test", "1 1")):
        write_image(root / f"images/{split}.png")
        (root / f"{split}.txt").write_text(f"images/{split}.png {flags}\n", encoding="utf-8")
    return root


def make_labelstudio(root: Path) -> Path:
    """24 annotated tasks."""
    tasks = []
    for number in range(24):
        write_image(root / f"{number}.png")
        value = {"choices": [("cat", "dog")[number % 2]]}
        tasks.append({"data": {"image": f"{number}.png"}, "annotations": [{"result": [{"value": value}]}]})
    (root / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    return root


def make_folders(root: Path) -> Path:
    """A cat and a dog in train and in val."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            write_image(root / split / name / f"{split} {name}.png")
    return root


def make_labelme(root: Path) -> Path:
    """A cat in train, a dog and a flag in val."""
    for split, label, flags in (("train", "cat", {"night": False}), ("val", "dog", {"night": True})):
        write_image(root / split / f"{split}.png")
        content = {
            "version": "5.4.1",
            "flags": flags,
            "shapes": [{"label": label, "points": [[0, 0], [2, 2]], "shape_type": "rectangle", "flags": {}}],
            "imagePath": f"{split}.png",
            "imageData": None,
        }
        (root / split / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def make_cvat(root: Path) -> Path:
    """24 images, cats and dogs."""
    images = []
    for number in range(24):
        write_image(root / f"images/{number}.png")
        images.append(f'<image id="{number}" name="{number}.png"><tag label="{("cat", "dog")[number % 2]}"/></image>')
    text = f"<annotations><version>1.1</version>{''.join(images)}</annotations>"
    (root / "annotations.xml").write_text(text, encoding="utf-8")
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "csv": make_csv,
    "voc": make_voc,
    "voclists": make_voclists,
    "coco": make_coco,
    "nuswide": make_nuswide,
    "mirflickr": make_mirflickr,
    "yolo": make_yolo,
    "imagelist": make_imagelist,
    "labelstudio": make_labelstudio,
    "folders": make_folders,
    "labelme": make_labelme,
    "cvat": make_cvat,
}
