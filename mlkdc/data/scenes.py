"""Scenes composed from the handwritten digits that scikit-learn carries.

One to three real 8x8 digits (Alpaydin and Kaynak, 1998) of very different size and contrast, a little tilted, in inks
of similar hue for the same digit, on textured ground. No handwritten digit is in two splits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from mlkdc.errors import UsageError
from mlkdc.types import SPLITS

FRACTIONS = (0.7, 0.1, 0.2)
"""Of the scenes, and of the handwritten digits, that go to train, val and test."""

PLACING_ATTEMPTS = 40

Corners = tuple[int, int, int, int]
"""Left, top, right and bottom of a box in pixels; right and bottom are exclusive."""


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
    hue_spread: float = 5  # degrees, standard deviation around the digit's hue; neighbors are 36 apart
    tint: float = 0.03  # largest color shift of the ground
    texture: float = 0.04  # standard deviation of the ground's pattern
    grain: float = 0.02  # standard deviation of the noise in each pixel
    tilt: float = 12  # degrees
    overlap: float = 0.1  # largest common area, as a fraction of the smaller box


DIFFICULTY = Difficulty()


@dataclass(frozen=True)
class DrawnDigit:
    """A digit in a scene. ``source`` is its index in :func:`handwriting`."""

    label: str
    box: Corners
    source: int


@dataclass(frozen=True)
class Scene:
    """A scene of one split: its pixels ``uint8[pixels, pixels, 3]`` and the digits in it."""

    split: str
    pixels: np.ndarray
    digits: list[DrawnDigit]


@cache
def handwriting() -> tuple[np.ndarray, np.ndarray]:
    """All 1797 handwritten digits, ``uint8[n, 8, 8]`` of 0..255, and which digit they are, ``int[n]``.

    Raises:
        UsageError: scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UsageError(
            "the embedded data set is made from digits that come with scikit-learn, which cannot be imported "
            f"({error}); run: pip install 'mlkdc[train]'"
        ) from error
    source = load_digits()
    return np.round(source.images * (255 / 16)).astype(np.uint8), source.target


def partition(seed: int) -> dict[str, list[np.ndarray]]:
    """By split, ten arrays of indices into :func:`handwriting`, one for each digit."""
    rng = np.random.default_rng([seed, len(SPLITS)])
    _, targets = handwriting()
    parts: dict[str, list[np.ndarray]] = {}
    for split in SPLITS:
        parts[split] = []
    for digit in range(10):
        shuffled = rng.permutation(np.flatnonzero(targets == digit))
        cuts = np.round(np.cumsum(FRACTIONS[:-1]) * len(shuffled)).astype(int)
        for split, part in zip(SPLITS, np.split(shuffled, cuts), strict=True):
            parts[split].append(part)
    return parts


def _smooth(rng: np.random.Generator, cells: int, pixels: int) -> np.ndarray:
    """Random hills about ``pixels / cells`` wide, ``float32[pixels, pixels]`` of standard deviation near 1."""
    grid = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    hills = np.asarray(grid.resize((pixels, pixels), Image.Resampling.BICUBIC))
    normalized: np.ndarray = hills / (hills.std() + 1e-6)
    return normalized


def _ground(rng: np.random.Generator, level: Difficulty) -> np.ndarray:
    """Hills of three widths and stripes on a plain color, ``float32[pixels, pixels, 3]``."""
    pixels = level.pixels
    pattern: np.ndarray = np.zeros((pixels, pixels), dtype=np.float32)
    for cells, weight in ((3, 0.7), (9, 0.5), (28, 0.4)):
        pattern = pattern + weight * _smooth(rng, cells, pixels)
    angle, wavelength = rng.uniform(0, np.pi), rng.uniform(6, 30)
    along = np.arange(pixels, dtype=np.float32) * (2 * np.pi / wavelength)
    phase = along * np.cos(angle) + (along * np.sin(angle) + rng.uniform(0, 2 * np.pi))[:, None]
    pattern = pattern + rng.uniform(0, 0.7) * np.sin(phase)
    color = rng.uniform(*level.ground) + level.tint * rng.uniform(-1, 1, 3)
    stretch = level.texture * rng.uniform(0.7, 1.3, 3)
    ground: np.ndarray = color.astype(np.float32) + pattern.astype(np.float32)[..., None] * stretch.astype(np.float32)
    return ground


def _stamp(digit: np.ndarray, height: float, tilt: float) -> np.ndarray:
    """A digit's opacity ``float32[h, w]`` in 0..1, enlarged, tilted and cropped to its visible part."""
    rows, columns = np.flatnonzero(digit.any(1)), np.flatnonzero(digit.any(0))
    tight = digit[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    framed = Image.fromarray(np.pad(tight, 1))
    scale = height / len(tight)
    size = (round(framed.width * scale), round(framed.height * scale))
    large = framed.resize(size, Image.Resampling.BICUBIC).rotate(tilt, Image.Resampling.BICUBIC, expand=True)
    opacity = np.clip((np.asarray(large, dtype=np.float32) / 255 - 0.25) / 0.4, 0, 1)
    visible = opacity > 0.5
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    return opacity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _place(rng: np.random.Generator, shape: tuple[int, ...], taken: list[Corners], level: Difficulty) -> Corners | None:
    """A box for a stamp that hardly covers earlier ones; None where no random position is good enough."""
    height, width = shape
    for _ in range(PLACING_ATTEMPTS):
        left, top = rng.integers(level.pixels - width + 1), rng.integers(level.pixels - height + 1)
        box = (int(left), int(top), int(left) + width, int(top) + height)
        if all(_overlap(box, other) <= level.overlap for other in taken):
            return box
    return None


def _overlap(a: Corners, b: Corners) -> float:
    """Common area over the area of the smaller box."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0) * max(height, 0) / min(_area(a), _area(b))


def _area(box: Corners) -> int:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def _paint(rng: np.random.Generator, region: np.ndarray, opacity: np.ndarray, digit: int, level: Difficulty) -> None:
    """Blend a digit into a part of the scene, in place, brighter than the ground and with a hue near the digit's.

    Each digit has a favorite ink. From shape alone, a mobile network with random initial weights takes far longer to
    learn than the few minutes this data set is meant for; hue alone does not separate neighbors.
    """
    hue = np.radians(36 * digit + level.hue_spread * rng.standard_normal() - np.array([0, 120, 240]))
    ink = rng.uniform(*level.contrast) * (1 + level.saturation * np.cos(hue))
    color = np.clip(region.mean((0, 1)) + ink, 0, 1)
    region += opacity[..., None] * (color.astype(np.float32) - region)


def _scene(rng: np.random.Generator, split: str, sources: list[int], level: Difficulty) -> Scene:
    """A scene of these handwritten digits. A digit for which there is no room is not in it."""
    images, targets = handwriting()
    pixels = _ground(rng, level)
    heights = np.exp(rng.uniform(np.log(level.smallest), np.log(level.largest), len(sources)))
    digits: list[DrawnDigit] = []
    taken: list[Corners] = []
    # The largest first: a small one still fits between large ones.
    for number in np.argsort(-heights):
        source = sources[number]
        opacity = _stamp(images[source], heights[number], rng.uniform(-level.tilt, level.tilt))
        box = _place(rng, opacity.shape, taken, level)
        if box is None:
            continue
        left, top, right, bottom = box
        digit = int(targets[source])
        _paint(rng, pixels[top:bottom, left:right], opacity, digit, level)
        taken.append(box)
        digits.append(DrawnDigit(str(digit), box, source))
    pixels += level.grain * rng.standard_normal(pixels.shape, dtype=np.float32)
    return Scene(split, np.round(255 * pixels.clip(0, 1)).astype(np.uint8), digits)


def draw_scenes(images: int, seed: int, level: Difficulty) -> Iterator[Scene]:
    """All scenes, split by split. Digits are dealt like cards, so that all ten are equally frequent.

    Args:
        images: how many scenes, all splits together.
        seed: of everything random.
        level: how hard.

    Raises:
        UsageError: scikit-learn is missing.
    """
    cuts = [0, *np.round(np.cumsum(FRACTIONS) * images).astype(int)]
    parts = partition(seed)
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng([seed, number])
        deck: list[int] = []
        for _ in range(cuts[number + 1] - cuts[number]):
            count = 1 + int(rng.choice(len(level.how_many), p=level.how_many))
            if len(deck) < count:
                deck += rng.permutation(10).tolist()
            dealt, deck = deck[:count], deck[count:]
            sources = [int(rng.choice(parts[split][digit])) for digit in dealt]
            yield _scene(rng, split, sources, level)
