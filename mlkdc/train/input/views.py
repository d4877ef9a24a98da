"""Random views of a batch of images, computed on complete tensors.

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

# Random numbers per image: 0 flip, 1 to 4 crop (area, aspect, position), 5 brightness, 6 contrast, 7 to 11 cutout
# (position, color). All are drawn whatever is switched on, so that switching one change on leaves the others alone.
_DRAWS = 12

# Of a crop's width / height, log-uniform: at most 4 / 3, at least 3 / 4.
_LOG_ASPECT = math.log(4 / 3)


def resize(images: Tensor, size: int) -> Tensor:
    """Stretch ``float[b, 3, s, s]`` to side ``size`` in pixels, as :func:`mlkdc.images.load_square` does for files."""
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
        """Draw for all images of one epoch; needed before the first batch of each."""
        # A separate key for every epoch: no epoch's numbers depend on how many were drawn before.
        # Even keys are the views', odd ones the order's (:class:`mlkdc.train.input.store.EpochOrder`).
        generator = np.random.Generator(np.random.Philox(key=[self.seed, 2 * epoch]))
        self._draws = torch.from_numpy(generator.random((self.count, _DRAWS), dtype=np.float32))
        self._epoch = epoch

    def __call__(self, index: Tensor, images: Tensor) -> Tensor:
        """Draw views of some images.

        Args:
            index: ``int64[b]``, positions of the images in the split.
            images: ``uint8[b, 3, s, s]``.

        Returns:
            ``float32[b, 3, size, size]`` in 0..255, on the device of the images.
        """
        draws = self._draws[index.cpu()].to(images.device)
        if self.augment.randaugment:
            images = self._randaugment(index, images)
        views = self._crop_and_flip(images.float(), draws)
        if self.augment.brightness:
            views = self._change_brightness(views, draws[:, 5], draws[:, 6])
        if self.augment.cutout:
            views = self._cut_out(views, draws[:, 7:12])
        return views

    def _randaugment(self, index: Tensor, images: Tensor) -> Tensor:
        policy = v2.RandAugment()
        views = []
        # torchvision's transforms draw from torch's global generator, so it is seeded for each image and put back.
        with torch.random.fork_rng():
            for position, image in zip(index.tolist(), images, strict=True):
                # The hash of a tuple of integers is the same in every process, unlike that of a string.
                torch.manual_seed(hash((self.seed, self._epoch, position)))
                views.append(policy(image))
        return torch.stack(views)

    def _crop_and_flip(self, images: Tensor, draws: Tensor) -> Tensor:
        mirror = torch.ones_like(draws[:, 0])
        if self.augment.flip:
            mirror = torch.where(draws[:, 0] < 0.5, -1.0, 1.0)
        if self.augment.crop == 1:
            flipped = torch.where(mirror[:, None, None, None] < 0, images.flip(-1), images)
            return resize(flipped, self.size)
        area = self.augment.crop + (1 - self.augment.crop) * draws[:, 1]
        # Width is multiplied and height divided by it, so it is the square root of their ratio.
        stretch = torch.exp((2 * draws[:, 2] - 1) * _LOG_ASPECT / 2)
        width = (area.sqrt() * stretch).clamp(max=1)
        height = (area.sqrt() / stretch).clamp(max=1)
        # In grid_sample's coordinates the image spans -1..1, so a crop of width w has its center in +-(1 - w).
        center_x = (2 * draws[:, 3] - 1) * (1 - width)
        center_y = (2 * draws[:, 4] - 1) * (1 - height)
        zero = torch.zeros_like(width)
        # A negative width mirrors the crop in the same sampling.
        rows = torch.stack([width * mirror, zero, center_x, zero, height, center_y], 1).view(-1, 2, 3)
        grid = F.affine_grid(rows, [len(images), 3, self.size, self.size], align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    def _change_brightness(self, views: Tensor, brightness_draws: Tensor, contrast_draws: Tensor) -> Tensor:
        brightness = self._factors(brightness_draws)
        contrast = self._factors(contrast_draws)
        mean = views.mean((1, 2, 3), keepdim=True)
        return ((views - mean) * contrast + mean * brightness).clamp(0, 255)

    def _factors(self, draws: Tensor) -> Tensor:
        """``[b]`` draws in 0..1 to factors ``[b, 1, 1, 1]`` around 1."""
        return 1 + self.augment.brightness * (2 * draws[:, None, None, None] - 1)

    def _cut_out(self, views: Tensor, draws: Tensor) -> Tensor:
        """DeVries and Taylor, 2017: one square, its center anywhere, filled with one random color."""
        half = self.augment.cutout / 2
        pixel_centers = (torch.arange(self.size, device=views.device) + 0.5) / self.size
        inside_x = (pixel_centers[None] - draws[:, :1]).abs() < half
        inside_y = (pixel_centers[None] - draws[:, 1:2]).abs() < half
        inside = inside_y[:, None, :, None] & inside_x[:, None, None, :]
        return torch.where(inside, 255 * draws[:, 2:5, None, None], views)
