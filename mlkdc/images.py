"""Opening an image: the one function that training, export, bench and predict all use."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from mlkdc.errors import UsageError, first_line
from mlkdc.fit import Fit

#: Of the border that ``pad`` adds: the middle gray that detectors are trained with (YOLO).
BORDER = (114, 114, 114)

#: Largest image in megapixels, unless the environment says otherwise: Pillow's own limit against files that are bombs.
MEGAPIXELS = 178
LIMIT_VARIABLE = "MLKDC_MAX_MEGAPIXELS"

#: Formats that Pillow names and leaves to programs that are not there.
_STUBS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})
_HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


@cache
def image_suffixes() -> frozenset[str]:
    """The suffixes of files that Pillow opens, in lower case with a dot."""
    suffixes = set()
    for suffix, name in Image.registered_extensions().items():
        # What is called MPO is opened as JPEG.
        if (name in Image.OPEN or name == "MPO") and name not in _STUBS:
            suffixes.add(suffix)
    return frozenset(suffixes)


def open_rgb(path: Path) -> Image.Image:
    """Decode an image completely, upright by its EXIF tag, as RGB.

    Gray values of 16 bits (0..65535) become 0..255. Other integers and floating-point values have no known range.

    Raises:
        UsageError: missing, not an image, truncated, too large, or of values without a known range; the message names
            the file and which of these it is.
    """
    return decode(path).rgb


@dataclass(frozen=True)
class Decoded:
    """An image, and how it was stored.

    Args:
        rgb: upright, RGB.
        mode: as Pillow names it: ``L``, ``RGB``, ``I;16``, ...
        highest: its highest value, where that is one of 16 bits.
    """

    rgb: Image.Image
    mode: str
    highest: int | None = None


def decode(path: Path) -> Decoded:
    """As :func:`open_rgb`, with what ``mlkdc data`` shows of the file."""
    assert not ImageFile.LOAD_TRUNCATED_IMAGES, "truncated images must be an error, not gray bands"
    _set_limit()
    try:
        with Image.open(path) as image:
            image.load()
            return _as_rgb(path, image)
    except UsageError:
        raise
    except FileNotFoundError:
        raise UsageError(f"{path}: no such image file") from None
    except PermissionError:
        raise UsageError(f"{path}: may not be read (permission denied)") from None
    except IsADirectoryError:
        raise UsageError(f"{path}: a folder, not an image") from None
    except UnidentifiedImageError:
        raise UsageError(f"{path}: {_what_instead(path)}") from None
    except Image.DecompressionBombError as error:
        raise UsageError(f"{path}: too large ({error}); if it is right, set {LIMIT_VARIABLE}=1000") from None
    except MemoryError:
        raise
    # Pillow's readers raise whatever they stumble over: OSError, SyntaxError, RuntimeError (AVIF), struct.error, ...
    except Exception as error:
        raise UsageError(f"{path}: truncated or damaged image ({first_line(error)})") from None


def _set_limit() -> None:
    text = os.environ.get(LIMIT_VARIABLE)
    if text is None:
        return
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{LIMIT_VARIABLE}={text}: expected megapixels, such as {MEGAPIXELS}")
    # Pillow warns from this number on, and refuses from twice of it on.
    Image.MAX_IMAGE_PIXELS = int(text) * 1_000_000 // 2


def _as_rgb(path: Path, image: Image.Image) -> Decoded:
    mode = image.mode
    upright = ImageOps.exif_transpose(image)
    # PNG and PNM have no integers above 16 bits, whatever Pillow keeps them in.
    if mode.startswith("I;16") or (mode == "I" and image.format in ("PNG", "PPM")):
        values = np.asarray(upright).astype(np.uint16)
        highest = int(values.max(initial=0))
        return Decoded(Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB"), mode, highest)
    if mode in ("I", "F"):
        what = {"I": "32-bit integers", "F": "floating-point values"}[mode]
        raise UsageError(
            f"{path}: pixels are {what} (mode {mode}), whose range is not known; scale them to 8 or 16 bits first"
        )
    if mode == "LAB":
        raise UsageError(f"{path}: pixels are CIELAB colors (mode LAB); convert it to RGB")
    return Decoded(upright.convert("RGB"), mode)


def _what_instead(path: Path) -> str:
    """What a file is that is no image."""
    with path.open("rb") as stream:
        head = stream.read(64)
    if not head:
        return "an empty file, not an image"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC:
        return "a HEIC photo, which Pillow cannot read; convert it to JPEG (on a phone: the most compatible format)"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer to an image; fetch the images: `git lfs pull`"
    if head.lstrip()[:1] == b"<":
        return "a web page or an SVG drawing, not an image that Pillow can read"
    return "not an image that Pillow can read"


def square(
    image: Image.Image, size: int, fit: Fit, resampling: Image.Resampling = Image.Resampling.BILINEAR
) -> np.ndarray:
    """An image as a square of ``size`` pixels (antialiased): ``uint8[size, size, 3]`` RGB.

    Args:
        image: RGB.
        size: side in pixels.
        fit: ``stretch``: the complete image, its aspect ratio not kept; ``crop``: its central square, whose side is
            the image's shorter one; ``pad``: the complete image, centered, with a border of :data:`BORDER`.
        resampling: the filter; models are shown bilinear ones.
    """
    if fit == "crop":
        image = ImageOps.fit(image, (size, size), resampling)
    elif fit == "pad":
        image = ImageOps.pad(image, (size, size), resampling, BORDER)
    elif image.size != (size, size):
        image = image.resize((size, size), resampling)
    return np.asarray(image)


def load_square(path: Path, size: int, fit: Fit = "stretch") -> np.ndarray:
    """An image file as :func:`square` makes it.

    Raises:
        UsageError: as :func:`open_rgb`.
    """
    return square(open_rgb(path), size, fit)
