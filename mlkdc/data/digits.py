"""The embedded data set: :mod:`mlkdc.data.scenes`, drawn once and kept in the cache."""

import json
import logging
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from PIL import Image

from mlkdc.data.layouts import ReadOptions, csv
from mlkdc.data.scenes import DIFFICULTY, Difficulty, DrawnDigit, draw_scenes
from mlkdc.errors import MlkdcError
from mlkdc.resources import cache_dir, digest
from mlkdc.types import Box, TaggedImages

VERSION = 1
"""Of the code that draws; the constants of ``Difficulty`` are part of the cache's name by themselves."""

BOXES_FILE = "boxes.json"


def make_digits(images: int, seed: int, level: Difficulty = DIFFICULTY) -> Path:
    """The folder of the scenes in the cache; made on the first call, completely or not at all.

    Args:
        images: how many, all splits together.
        seed: of everything random.
        level: how hard.

    Raises:
        UsageError: they must be drawn, and scikit-learn is missing.
        MlkdcError: the cache is not writable or the disk is full.
    """
    cache_folder = cache_dir("digits")
    folder = cache_folder / f"v{VERSION}-{images}-seed{seed}-{level.pixels}px-{digest(asdict(level), 8)}"
    if folder.is_dir():
        return folder
    logging.getLogger(__name__).info("making the embedded data set in %s", folder)
    # Renamed only when complete: an interrupted process leaves no half data set under the final name.
    unfinished = Path(tempfile.mkdtemp(prefix=".making-", dir=cache_folder))
    try:
        _write(unfinished, images, seed, level)
        unfinished.chmod(0o755)
        os.rename(unfinished, folder)
    except OSError as error:
        # Where the folder is there now, another process was first, with the same content.
        if not folder.is_dir():
            raise MlkdcError(
                f"could not make the embedded data set in {folder}: {error.strerror or error}; "
                "free some space or set MLKDC_CACHE to another folder"
            ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _write(folder: Path, images: int, seed: int, level: Difficulty) -> None:
    """images/*.png, labels.csv, classes.txt and boxes.json."""
    (folder / "images").mkdir()
    rows = ["image,labels,split"]
    digits = {}
    with ThreadPoolExecutor() as pool:
        saved = []
        for number, scene in enumerate(draw_scenes(images, seed, level)):
            name = f"images/{number:05d}.png"
            saved.append(pool.submit(Image.fromarray(scene.pixels).save, folder / name, compress_level=1))
            labels = sorted({digit.label for digit in scene.digits})
            rows.append(f"{name},{'|'.join(labels)},{scene.split}")
            digits[name] = [asdict(digit) for digit in scene.digits]
        # An error while saving, a full disk for instance, is raised here.
        for future in saved:
            future.result()
    _write_text(folder / BOXES_FILE, json.dumps(digits))
    _write_text(folder / "classes.txt", "\n".join(map(str, range(10))) + "\n")
    _write_text(folder / "labels.csv", "\n".join(rows) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _read_boxes(folder: Path) -> dict[str, list[DrawnDigit]]:
    """The digits in each scene, by the image's path relative to ``folder``."""
    content = json.loads((folder / BOXES_FILE).read_text(encoding="utf-8"))
    digits = {}
    for name, objects in content.items():
        digits[name] = [DrawnDigit(**values) for values in objects]
    return digits


def open_digits(images: int, seed: int) -> TaggedImages:
    """The embedded data set, with boxes. ``root`` is its folder in the cache. Raises as :func:`make_digits`."""
    folder = make_digits(images, seed)
    data = csv.read(folder, ReadOptions())
    digits = _read_boxes(folder)
    samples = []
    for sample in data.samples:
        name = sample.image.relative_to(folder).as_posix()
        boxes = tuple(Box(int(digit.label), *digit.box) for digit in digits[name])
        samples.append(replace(sample, boxes=boxes))
    split_from = "made with the scenes, 70/10/20 train/val/test; no handwritten digit is in two splits"
    return replace(data, name="digits", layout="digits", samples=tuple(samples), split_from=split_from)
