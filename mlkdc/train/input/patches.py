"""Crops of training views, for the methods that look at parts of an image (MSKD, "Locality-SD")."""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import roi_align

COUNT = 4
_AREA = (0.2, 0.3)
_RATIO = (2 / 5, 5 / 3)
# Another stream of random numbers than the views and the order of the same seed.
_STREAM = 1 << 40


class Patches:
    """Draws S = 4 boxes for every image of an epoch, which depend on (seed, epoch, image) alone.

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
            quarters = [[x, y, x + 0.5, y + 0.5] for y in (0.0, 0.5) for x in (0.0, 0.5)]
            self._boxes = torch.tensor(quarters).expand(self.count, COUNT, 4)
            return
        generator = np.random.Generator(np.random.Philox(key=[self.seed + _STREAM, epoch]))
        draws = torch.from_numpy(generator.random((4, self.count, COUNT), dtype=np.float32))
        area = _AREA[0] + (_AREA[1] - _AREA[0]) * draws[0]
        low, high = map(math.log, _RATIO)
        ratio = torch.exp(low + (high - low) * draws[1])
        width, height = (area * ratio).sqrt(), (area / ratio).sqrt()
        left, top = draws[2] * (1 - width), draws[3] * (1 - height)
        self._boxes = torch.stack([left, top, left + width, top + height], dim=-1)

    def boxes(self, index: Tensor) -> Tensor:
        """``[b, S, 4]``: left, top, right, bottom as shares of the view's side."""
        return self._boxes[index.cpu()].to(index.device)


def cut(maps: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """The boxes' parts of pictures or feature maps, bilinearly sampled (RoIAlign, He et al. 2017).

    Args:
        maps: ``[b, C, h, w]``.
        boxes: ``[b, S, 4]`` as shares of the side.
        height, width: of what is returned.

    Returns:
        ``[b * S, C, height, width]``, the S parts of an image one after the other.
    """
    images, count, _ = boxes.shape
    side = torch.tensor([maps.shape[3], maps.shape[2]] * 2, device=boxes.device)
    rows = torch.arange(images, device=boxes.device).repeat_interleave(count)
    places = torch.cat([rows[:, None].float(), (boxes * side).flatten(0, 1)], dim=1)
    return roi_align(maps.float(), places, (height, width), sampling_ratio=1, aligned=True)
