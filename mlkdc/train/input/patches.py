"""Crops of training views, for the methods that look at parts of an image (MSKD, "Locality-SD")."""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

PATCHES_PER_IMAGE = 4

# Area as a fraction of the view's, and width / height: smallest and largest.
_AREA = (0.2, 0.3)
_RATIO = (2 / 5, 5 / 3)

# Left, top, right, bottom as fractions of the view's side.
_QUARTERS = (
    (0.0, 0.0, 0.5, 0.5),
    (0.5, 0.0, 1.0, 0.5),
    (0.0, 0.5, 0.5, 1.0),
    (0.5, 0.5, 1.0, 1.0),
)

# Another stream of random numbers than the views and the order of the same seed.
_STREAM = 1 << 40


class Patches:
    """Draws S = 4 boxes for every image of an epoch, which depend only on (seed, epoch, image).

    Args:
        kind: ``random`` (area 0.2 to 0.3 of the view's, width / height 2/5 to 5/3, log-uniform) or ``corners``
            (the four half-size quarters).
        count: number of images in the split.
        seed: the run's seed.
    """

    def __init__(self, kind: Literal["random", "corners"], count: int, seed: int) -> None:
        self.kind = kind
        self.count = count
        self.seed = seed
        self._boxes = torch.empty(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw for all images of one epoch."""
        if self.kind == "corners":
            self._boxes = torch.tensor(_QUARTERS).expand(self.count, PATCHES_PER_IMAGE, 4)
            return
        generator = np.random.Generator(np.random.Philox(key=[self.seed + _STREAM, epoch]))
        draws = torch.from_numpy(generator.random((4, self.count, PATCHES_PER_IMAGE), dtype=np.float32))
        area = _AREA[0] + (_AREA[1] - _AREA[0]) * draws[0]
        # Log-uniform, so that a ratio and its inverse are equally likely.
        low, high = math.log(_RATIO[0]), math.log(_RATIO[1])
        ratio = torch.exp(low + (high - low) * draws[1])
        width, height = (area * ratio).sqrt(), (area / ratio).sqrt()
        left, top = draws[2] * (1 - width), draws[3] * (1 - height)
        self._boxes = torch.stack([left, top, left + width, top + height], dim=-1)

    def boxes(self, index: Tensor) -> Tensor:
        """The boxes of some images.

        Args:
            index: ``int64[b]``, positions of the images in the split.

        Returns:
            ``float32[b, S, 4]``: left, top, right, bottom as fractions of the view's side, on the index's device.
        """
        return self._boxes[index.cpu()].to(index.device)


def cut(maps: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """The boxes' parts of images or feature maps, bilinearly sampled (RoIAlign, He et al. 2017).

    Args:
        maps: ``[b, C, h, w]``.
        boxes: ``[b, S, 4]`` as fractions of the side.
        height, width: of what is returned, in pixels.

    Returns:
        ``float32[b * S, C, height, width]``, the S parts of an image one after the other.
    """
    images, boxes_per_image, _ = boxes.shape
    map_height, map_width = maps.shape[2:]
    sides = torch.tensor([map_width, map_height, map_width, map_height], device=boxes.device)
    # roi_align takes flat rows of (which image, left, top, right, bottom) in pixels.
    rows = torch.arange(images, device=boxes.device).repeat_interleave(boxes_per_image)
    regions = torch.cat([rows[:, None].float(), (boxes * sides).flatten(0, 1)], dim=1)
    parts: Tensor = roi_align(maps.float(), regions, (height, width), sampling_ratio=1, aligned=True)
    return parts
