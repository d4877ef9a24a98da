"""Which part of an image a view shows, computed from its random numbers as the documentation has it."""

import numpy as np


def drawn_boxes(seed: int, view: int, images: int, crop: float) -> list[tuple[float, float, float, float]]:
    """Left, top, right and bottom of every image's box, as fractions of the image's sides."""
    draws = np.random.Generator(np.random.Philox(key=[seed, 2 * view])).random((images, 12), dtype=np.float32)
    boxes = []
    for numbers in draws:
        area, ratio = crop + (1 - crop) * numbers[1], (4 / 3) ** (2 * numbers[2] - 1)
        width, height = min(1.0, (area * ratio) ** 0.5), min(1.0, (area / ratio) ** 0.5)
        # Cut off at one border, a crop is long enough in the other direction to have the smallest area.
        if width == 1:
            height = max(height, crop)
        elif height == 1:
            width = max(width, crop)
        left, top = numbers[3] * (1 - width), numbers[4] * (1 - height)
        boxes.append((left, top, left + width, top + height))
    return boxes
