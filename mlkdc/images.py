"""Opening an image: the one function that training, export, bench and predict all use."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from mlkdc.errors import UsageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def open_rgb(path: Path) -> Image.Image:
    """Decode an image completely, upright by its EXIF tag, as RGB.

    Raises:
        UsageError: missing, not an image, or truncated; the message names the file and which of these it is.
    """
    assert not ImageFile.LOAD_TRUNCATED_IMAGES, "truncated images must be an error, not gray bands"
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such image file") from None
    except UnidentifiedImageError:
        raise UsageError(f"{path}: not an image that Pillow can read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: truncated or damaged image ({error})") from None


def load_square(path: Path, size: int) -> np.ndarray:
    """An image stretched to ``size`` x ``size`` (bilinear, antialiased) as ``uint8[size, size, 3]`` RGB.

    Raises:
        UsageError: as :func:`open_rgb`.
    """
    image = open_rgb(path)
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)
