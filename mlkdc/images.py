"""Opening an image: the one function that training, export, bench and predict all use."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from mlkdc.errors import UsageError
from mlkdc.fit import Fit

#: Of the border that ``pad`` adds: the middle gray that detectors are trained with (YOLO).
BORDER = (114, 114, 114)

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


def square(image: Image.Image, size: int, fit: Fit) -> np.ndarray:
    """An image as a square of ``size`` pixels (bilinear, antialiased): ``uint8[size, size, 3]`` RGB.

    Args:
        image: RGB.
        size: side in pixels.
        fit: ``stretch``: the complete image, its aspect ratio not kept; ``crop``: its central square, whose side is
            the image's shorter one; ``pad``: the complete image, centered, with a border of :data:`BORDER`.
    """
    if fit == "crop":
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    elif fit == "pad":
        image = ImageOps.pad(image, (size, size), Image.Resampling.BILINEAR, BORDER)
    elif image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def load_square(path: Path, size: int, fit: Fit = "stretch") -> np.ndarray:
    """An image file as :func:`square` makes it.

    Raises:
        UsageError: as :func:`open_rgb`.
    """
    return square(open_rgb(path), size, fit)
