"""Random views of a batch of images, computed on complete tensors.

What is drawn for an image depends on (seed, epoch, image index) and nothing else: not on the batch it is in, the
number of processes, the size of the view or where a run was resumed. Teacher and student therefore see the same view,
each at its size, and the teacher's outputs for a view can be kept.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from mlkdc.recipe import Augment
from mlkdc.train.input.resample import LARGEST_ASPECT, resample

# Random numbers per image: 0 flip, 1 to 4 crop (area, aspect, position), 5 brightness, 6 contrast, 7 to 11 cutout
# (position, color). All are drawn whatever is switched on, so that switching one change on leaves the others alone.
_DRAWS = 12

# A crop's width / height is log-uniform, where that leaves it in the image and large enough.
_LOG_ASPECT = math.log(LARGEST_ASPECT)


def view_number(epoch: int, views: int | None) -> int:
    """Which view of an image an epoch shows: ``views`` of them take turns; None = each epoch has its own."""
    if views is None:
        return epoch
    return epoch % views


def crop_boxes(draws: Tensor, smallest: float) -> Tensor:
    """Random parts of images, none of a smaller area than ``smallest``, a fraction of the image's.

    Args:
        draws: ``[b, 4]`` in 0..1: area, aspect, position in each direction.
        smallest: fraction of the area.

    Returns:
        ``[b, 4]``: left, top, right, bottom as fractions of the side.
    """
    area = smallest + (1 - smallest) * draws[:, 0]
    side = area.sqrt()
    # Width is multiplied and height divided by it, so it is the square root of their ratio.
    stretch = torch.exp((2 * draws[:, 1] - 1) * _LOG_ASPECT / 2)
    # A side ends at the image's border, and what is cut off there makes the area smaller: no more than that.
    stretch = stretch.clamp(smallest / side, side / smallest)
    width, height = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
    left, top = draws[:, 2] * (1 - width), draws[:, 3] * (1 - height)
    return torch.stack([left, top, left + width, top + height], dim=1)


class Views:
    """Draws training views.

    Args:
        augment: which changes.
        count: number of images in the split.
        seed: of the views.
    """

    def __init__(self, augment: Augment, count: int, seed: int) -> None:
        self.augment = augment
        self.count = count
        self.seed = seed
        self._number = -1
        self._draws = torch.empty(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw for all images of one epoch; needed before the first batch of each."""
        self._number = view_number(epoch, self.augment.views)
        # A separate key for every view: its numbers do not depend on how many were drawn before.
        # Even keys are the views', odd ones the order's (:class:`mlkdc.train.input.store.EpochOrder`).
        generator = np.random.Generator(np.random.Philox(key=[self.seed, 2 * self._number]))
        self._draws = torch.from_numpy(generator.random((self.count, _DRAWS), dtype=np.float32))

    def __call__(self, index: Tensor, images: Tensor, size: int) -> Tensor:
        """Draw views of some images.

        Args:
            index: ``int64[b]``, positions of the images in the split.
            images: ``uint8[b, 3, s, s]``.
            size: side of the views in pixels.

        Returns:
            ``float32[b, 3, size, size]`` in 0..255, on the device of the images.
        """
        drawn = self._draws[index.cpu()]
        draws = drawn.to(images.device)
        if self.augment.randaugment:
            images = self._randaugment(index, images)
        views = self._crop_and_flip(images, drawn, size)
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
                torch.manual_seed(hash((self.seed, self._number, position)))
                views.append(policy(image))
        return torch.stack(views)

    def _crop_and_flip(self, images: Tensor, draws: Tensor, size: int) -> Tensor:
        """Of draws on the CPU."""
        mirrored = torch.zeros(len(draws), dtype=torch.bool)
        if self.augment.flip:
            mirrored = draws[:, 0] < 0.5
        if self.augment.crop == 1 and images.shape[-1] == size:
            where = mirrored.to(images.device)[:, None, None, None]
            return torch.where(where, images.flip(-1), images).float()
        boxes = crop_boxes(draws[:, 1:5], self.augment.crop)
        return resample(images, boxes, mirrored, size)

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
        half, size = self.augment.cutout / 2, views.shape[-1]
        pixel_centers = (torch.arange(size, device=views.device) + 0.5) / size
        inside_x = (pixel_centers[None] - draws[:, :1]).abs() < half
        inside_y = (pixel_centers[None] - draws[:, 1:2]).abs() < half
        inside = inside_y[:, None, :, None] & inside_x[:, None, None, :]
        return torch.where(inside, 255 * draws[:, 2:5, None, None], views)
