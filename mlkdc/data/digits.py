"""The embedded data set: scenes composed from the handwritten digits that scikit-learn carries.

One to three real 8x8 digits (Alpaydin and Kaynak, 1998) of very different size and contrast, a little tilted, in inks
of similar hue for the same digit, on textured ground. No handwritten digit is in two splits.
"""

import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from mlkdc.data.layouts import csv
from mlkdc.errors import MlkdcError
from mlkdc.resources import cache_dir, digest
from mlkdc.types import SPLITS, Box, TaggedImages

VERSION = 1
"""Of the code that draws; the constants below are part of the cache's name by themselves."""

SHARES = (0.7, 0.1, 0.2)


@dataclass(frozen=True)
class Difficulty:
    """How hard the scenes are. Lengths are in pixels, brightness in 0..1."""

    pixels: int = 96
    smallest: float = 22
    largest: float = 60
    how_many: tuple[float, ...] = (0.3, 0.4, 0.3)  # chances of 1, 2, 3 digits
    ground: tuple[float, float] = (0.05, 0.3)
    contrast: tuple[float, float] = (0.3, 0.65)  # above the ground under the digit
    saturation: float = 0.9  # of a digit's ink
    hue_spread: float = 5  # degrees, standard deviation around the digit's own hue; neighbors are 36 apart
    tint: float = 0.03  # largest color shift of the ground
    texture: float = 0.04  # standard deviation of the ground's pattern
    grain: float = 0.02  # standard deviation of the noise in each pixel
    tilt: float = 12  # degrees
    overlap: float = 0.1  # largest share of the smaller box


DIFFICULTY = Difficulty()


@cache
def handwriting() -> tuple[np.ndarray, np.ndarray]:
    """All 1797 handwritten digits, ``uint8[n, 8, 8]`` of 0..255, and what each one is, ``int[n]``."""
    source = load_digits()
    return np.round(source.images * (255 / 16)).astype(np.uint8), source.target


def partition(seed: int) -> dict[str, list[np.ndarray]]:
    """By split, ten arrays of indices into :func:`handwriting`, one for each digit."""
    rng = np.random.default_rng([seed, len(SPLITS)])
    _, targets = handwriting()
    parts: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    for digit in range(10):
        shuffled = rng.permutation(np.flatnonzero(targets == digit))
        cuts = np.round(np.cumsum(SHARES[:-1]) * len(shuffled)).astype(int)
        for split, part in zip(SPLITS, np.split(shuffled, cuts), strict=True):
            parts[split].append(part)
    return parts


def _smooth(rng: np.random.Generator, cells: int, pixels: int) -> np.ndarray:
    """Random hills about ``pixels / cells`` wide, ``float32[pixels, pixels]`` of standard deviation near 1."""
    grid = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    hills = np.asarray(grid.resize((pixels, pixels), Image.Resampling.BICUBIC))
    return hills / (hills.std() + 1e-6)


def _ground(rng: np.random.Generator, level: Difficulty) -> np.ndarray:
    """Hills of three widths and stripes on a plain color, ``float32[pixels, pixels, 3]``."""
    pixels = level.pixels
    pattern = sum(share * _smooth(rng, cells, pixels) for cells, share in ((3, 0.7), (9, 0.5), (28, 0.4)))
    angle, wavelength = rng.uniform(0, np.pi), rng.uniform(6, 30)
    along = np.arange(pixels, dtype=np.float32) * (2 * np.pi / wavelength)
    phase = along * np.cos(angle) + (along * np.sin(angle) + rng.uniform(0, 2 * np.pi))[:, None]
    pattern = pattern + rng.uniform(0, 0.7) * np.sin(phase)
    color = rng.uniform(*level.ground) + level.tint * rng.uniform(-1, 1, 3)
    stretch = level.texture * rng.uniform(0.7, 1.3, 3)
    return color.astype(np.float32) + pattern.astype(np.float32)[..., None] * stretch.astype(np.float32)


def _stamp(digit: np.ndarray, height: float, tilt: float) -> np.ndarray:
    """A digit's opacity ``float32[h, w]`` in 0..1, enlarged, tilted and cropped to what is visible of it."""
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    tight = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    framed = Image.fromarray(np.pad(tight, 1))
    scale = height / len(tight)
    size = (round(framed.width * scale), round(framed.height * scale))
    large = framed.resize(size, Image.Resampling.BICUBIC).rotate(tilt, Image.Resampling.BICUBIC, expand=True)
    opacity = np.clip((np.asarray(large, dtype=np.float32) / 255 - 0.25) / 0.4, 0, 1)
    seen = opacity > 0.5
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    return opacity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _place(
    rng: np.random.Generator, shape: tuple[int, ...], taken: list[tuple[int, int, int, int]], level: Difficulty
) -> tuple[int, int, int, int] | None:
    """A box (left, top, right, bottom) for a stamp that hardly covers earlier ones; None after 40 attempts."""
    height, width = shape
    for _ in range(40):
        left, top = rng.integers(level.pixels - width + 1), rng.integers(level.pixels - height + 1)
        box = (int(left), int(top), int(left) + width, int(top) + height)
        if all(_shared(box, other) <= level.overlap for other in taken):
            return box
    return None


def _shared(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> float:
    """Common area over the area of the smaller box."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(wide, 0) * max(high, 0) / smaller


def _paint(rng: np.random.Generator, region: np.ndarray, opacity: np.ndarray, digit: int, level: Difficulty) -> None:
    """Blend a digit into a part of the scene, in place, brighter than what is there and with a hue near its own.

    Each digit has a favorite ink. Shape alone takes a mobile net trained from random weights far more than the few
    minutes this data set is meant for; hue alone does not tell neighbors apart.
    """
    hue = np.radians(36 * digit + level.hue_spread * rng.standard_normal() - np.array([0, 120, 240]))
    ink = rng.uniform(*level.contrast) * (1 + level.saturation * np.cos(hue))
    color = np.clip(region.mean((0, 1)) + ink, 0, 1)
    region += opacity[..., None] * (color.astype(np.float32) - region)


def _scene(rng: np.random.Generator, sources: list[int], level: Difficulty) -> tuple[np.ndarray, list[dict]]:
    """A picture ``uint8[pixels, pixels, 3]`` and its objects. A digit for which there is no room is not in it."""
    images, targets = handwriting()
    scene = _ground(rng, level)
    heights = np.exp(rng.uniform(np.log(level.smallest), np.log(level.largest), len(sources)))
    objects: list[dict] = []
    taken: list[tuple[int, int, int, int]] = []
    for at in np.argsort(-heights):
        opacity = _stamp(images[sources[at]], heights[at], rng.uniform(-level.tilt, level.tilt))
        box = _place(rng, opacity.shape, taken, level)
        if box is not None:
            _paint(rng, scene[box[1] : box[3], box[0] : box[2]], opacity, int(targets[sources[at]]), level)
            taken.append(box)
            objects.append({"label": str(targets[sources[at]]), "box": box, "source": int(sources[at])})
    scene += level.grain * rng.standard_normal(scene.shape, dtype=np.float32)
    return np.round(255 * scene.clip(0, 1)).astype(np.uint8), objects


def _scenes(images: int, seed: int, level: Difficulty) -> Iterator[tuple[str, np.ndarray, list[dict]]]:
    """(split, picture, objects) of every scene. Digits are dealt like cards, so that all ten are equally frequent."""
    cuts = [0, *np.round(np.cumsum(SHARES) * images).astype(int)]
    parts = partition(seed)
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng([seed, number])
        deck: list[int] = []
        for _ in range(cuts[number + 1] - cuts[number]):
            many = 1 + int(rng.choice(len(level.how_many), p=level.how_many))
            if len(deck) < many:
                deck += rng.permutation(10).tolist()
            dealt, deck = deck[:many], deck[many:]
            sources = [int(rng.choice(parts[split][digit])) for digit in dealt]
            yield split, *_scene(rng, sources, level)


def _write(folder: Path, images: int, seed: int, level: Difficulty) -> None:
    """images/*.png, labels.csv, classes.txt and boxes.json."""
    (folder / "images").mkdir()
    rows, boxes = ["image,labels,split"], {}
    with ThreadPoolExecutor() as pool:
        saved = []
        for at, (split, picture, objects) in enumerate(_scenes(images, seed, level)):
            name = f"images/{at:05d}.png"
            saved.append(pool.submit(Image.fromarray(picture).save, folder / name, compress_level=1))
            rows.append(f"{name},{'|'.join(sorted({item['label'] for item in objects}))},{split}")
            boxes[name] = objects
        for future in saved:
            future.result()
    (folder / "boxes.json").write_text(json.dumps(boxes))
    (folder / "classes.txt").write_text("\n".join(map(str, range(10))) + "\n")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


def make_digits(images: int, seed: int, level: Difficulty = DIFFICULTY) -> Path:
    """The folder of the scenes in the cache; made on the first call, whole or not at all.

    Args:
        images: how many, all splits together.
        seed: of everything random.
        level: how hard.

    Raises:
        MlkdcError: the cache is not writable or the disk is full.
    """
    cache_folder = cache_dir("digits")
    made = cache_folder / f"v{VERSION}-{images}-seed{seed}-{level.pixels}px-{digest(asdict(level), 8)}"
    if made.is_dir():
        return made
    logging.getLogger(__name__).info("making the embedded data set in %s", made)
    folder = Path(tempfile.mkdtemp(prefix=".making-", dir=cache_folder))
    try:
        _write(folder, images, seed, level)
        folder.chmod(0o755)
        os.rename(folder, made)
    except OSError as error:
        if not made.is_dir():  # else another process was first, with the same content
            raise MlkdcError(
                f"could not make the embedded data set in {made}: {error.strerror or error}; "
                "free some space or set MLKDC_CACHE to another folder"
            ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return made


def open_digits(images: int, seed: int) -> TaggedImages:
    """The embedded data set, with boxes. ``root`` is its folder in the cache. Raises as :func:`make_digits`."""
    folder = make_digits(images, seed)
    data = csv.read(folder)
    boxes = json.loads((folder / "boxes.json").read_text())
    samples = []
    for sample in data.samples:
        objects = boxes[sample.image.relative_to(folder).as_posix()]
        found = tuple(Box(int(item["label"]), *item["box"]) for item in objects)
        samples.append(replace(sample, boxes=found))
    made = "made with the scenes, 70/10/20 train/val/test; no handwritten digit is in two splits"
    return replace(data, name="digits", layout="digits", samples=tuple(samples), split_from=made)
