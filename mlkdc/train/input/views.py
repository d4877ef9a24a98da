"""Random views of a batch of pictures, on whole tensors.

What is drawn for an image depends on (seed, epoch, image index) and nothing else: not on the batch it is in, the
number of processes or where a run was resumed. Teacher and student therefore see the same view, and the
teacher's outputs for an epoch can be kept.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from mlkdc.recipe import Augment

_DRAWS = 12
_ASPECT = math.log(4 / 3)


def resize(images: Tensor, size: int) -> Tensor:
    """``float[b, 3, s, s]`` stretched to ``size`` (bilinear, antialiased), as :func:`mlkdc.images.load_square`."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


class Views:
    """Draws training views.

    Args:
        augment: which changes.
        size: side of the views in pixels.
        count: number of images in the split.
        seed: the run's seed.
    """

    def __init__(self, augment: Augment, size: int, count: int, seed: int) -> None:
        self.augment = augment
        self.size = size
        self.count = count
        self.seed = seed
        self._epoch = -1
        self._draws = torch.empty(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw for all images of one epoch."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed, 2 * epoch]))
        self._draws = torch.from_numpy(generator.random((self.count, _DRAWS), dtype=np.float32))
        self._epoch = epoch

    def __call__(self, index: Tensor, images: Tensor) -> Tensor:
        """Views of ``uint8[b, 3, s, s]`` as ``float32[b, 3, size, size]`` in 0..255."""
        draws = self._draws[index.cpu()].to(images.device)
        if self.augment.randaugment:
            images = self._randaugment(index, images)
        views = self._crop_and_flip(images.float(), draws)
        if self.augment.brightness:
            views = self._brightness(views, draws[:, 5], draws[:, 6])
        if self.augment.cutout:
            views = self._cutout(views, draws[:, 7:12])
        return views

    def _randaugment(self, index: Tensor, images: Tensor) -> Tensor:
        policy = v2.RandAugment()
        changed = []
        with torch.random.fork_rng():
            for which, image in zip(index.tolist(), images, strict=True):
                torch.manual_seed(hash((self.seed, self._epoch, which)))
                changed.append(policy(image))
        return torch.stack(changed)

    def _crop_and_flip(self, images: Tensor, draws: Tensor) -> Tensor:
        mirror = torch.where(draws[:, 0] < 0.5, -1.0, 1.0) if self.augment.flip else torch.ones_like(draws[:, 0])
        if self.augment.crop == 1:
            flipped = torch.where(mirror[:, None, None, None] < 0, images.flip(-1), images)
            return resize(flipped, self.size)
        area = self.augment.crop + (1 - self.augment.crop) * draws[:, 1]
        aspect = torch.exp((2 * draws[:, 2] - 1) * _ASPECT / 2)
        wide, high = (area.sqrt() * aspect).clamp(max=1), (area.sqrt() / aspect).clamp(max=1)
        # In grid_sample's coordinates the picture spans -1..1, so a crop of width w has its center in +-(1 - w).
        across, down = (2 * draws[:, 3] - 1) * (1 - wide), (2 * draws[:, 4] - 1) * (1 - high)
        zero = torch.zeros_like(wide)
        rows = torch.stack([wide * mirror, zero, across, zero, high, down], 1).view(-1, 2, 3)
        grid = F.affine_grid(rows, [len(images), 3, self.size, self.size], align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    def _brightness(self, views: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
        span = self.augment.brightness
        bright, sharp = (1 + span * (2 * draw[:, None, None, None] - 1) for draw in (brightness, contrast))
        mean = views.mean((1, 2, 3), keepdim=True)
        return ((views - mean) * sharp + mean * bright).clamp(0, 255)

    def _cutout(self, views: Tensor, draws: Tensor) -> Tensor:
        """DeVries and Taylor, 2017: one square, its center anywhere, filled with one random color."""
        half = self.augment.cutout / 2
        position = (torch.arange(self.size, device=views.device) + 0.5) / self.size
        inside_x = (position[None] - draws[:, :1]).abs() < half
        inside_y = (position[None] - draws[:, 1:2]).abs() < half
        inside = inside_y[:, None, :, None] & inside_x[:, None, None, :]
        return torch.where(inside, 255 * draws[:, 2:5, None, None], views)
