"""Mixed images with mixed labels: mixup (Zhang et al., ICLR 2018) and CutMix (Yun et al., ICCV 2019)."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from mlkdc.recipe import Augment
from mlkdc.train.sources import Drawn

# Another stream of random numbers than those of views, second views, crops and the order of the same seed.
_STREAM = 1 << 42


class Mix:
    """Mixes every view of a batch with the one before it, the first with the last, and their labels likewise.

    How an image is mixed depends on (seed, epoch, image) alone; which one it is mixed with, on the order of the batch,
    and so on the number of processes. Where mixup and CutMix are both on, each image gets one of them, by chance.

    Args:
        augment: the alphas.
        count: number of training images.
        seed: of the views.
    """

    def __init__(self, augment: Augment, count: int, seed: int) -> None:
        self.augment, self.count, self.seed = augment, count, seed
        self._kept = self._corners = torch.empty(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw for all images of one epoch."""
        generator = np.random.Generator(np.random.Philox(key=[self.seed + _STREAM, epoch]))
        blended = self._fractions(generator, self.augment.mixup)
        pasted = self._fractions(generator, self.augment.cutmix)
        draws = generator.random((self.count, 3))
        pastes = np.full(self.count, self.augment.cutmix > 0)
        if self.augment.mixup and self.augment.cutmix:
            pastes = draws[:, 0] < 0.5
        # An area of 1 - lambda, its center anywhere: what is outside of the image is cut off.
        half = np.sqrt(1 - pasted[:, None]) / 2 * pastes[:, None]
        centers = draws[:, 1:]
        self._corners = torch.from_numpy(np.concatenate([centers - half, centers + half], axis=1)).float()
        self._kept = torch.from_numpy(np.where(pastes, 1.0, blended)).float()

    def _fractions(self, generator: np.random.Generator, alpha: float) -> np.ndarray:
        """``[count]`` lambdas, what is kept of each image."""
        if not alpha:
            return np.ones(self.count)
        return generator.beta(alpha, alpha, self.count)

    def __call__(self, drawn: Drawn, targets: Tensor) -> tuple[Drawn, Tensor]:
        """Views and second views mixed in the same way, and their labels ``[b, q]``, between 0 and 1.

        Args:
            drawn: the images of a step.
            targets: ``[b, q]`` of zeros and ones.
        """
        index = drawn.index.cpu()
        corners, kept = self._corners[index].to(targets.device), self._kept[index].to(targets.device)
        views, fractions = {}, []
        for size, at_size in drawn.views.items():
            views[size], fraction = _mixed(at_size, corners, kept)
            fractions.append(fraction)
        second_views = {}
        for size, at_size in drawn.second_views.items():
            second_views[size], _ = _mixed(at_size, corners, kept)
        # As many of the other's labels as there are pixels of it at the first size, which is the student's.
        soft = torch.lerp(targets.roll(1, 0), targets, fractions[0][:, None])
        return replace(drawn, views=views, second_views=second_views), soft


def _mixed(views: Tensor, corners: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Views ``[b, 3, s, s]`` mixed with those before them, and the fraction ``[b]`` that is each one's own.

    Args:
        views: in 0..255.
        corners: ``[b, 4]``, x, y, x, y of the area that is the other's, as fractions of the side.
        kept: ``[b]``, weight of each view outside of that area.
    """
    centers = (torch.arange(views.shape[-1], device=views.device) + 0.5) / views.shape[-1]
    inside_x = (centers > corners[:, :1]) & (centers < corners[:, 2:3])
    inside_y = (centers > corners[:, 1:2]) & (centers < corners[:, 3:])
    inside = inside_y[:, :, None] & inside_x[:, None, :]
    weights = torch.where(inside, 0.0, kept[:, None, None])
    return torch.lerp(views.roll(1, 0), views, weights[:, None]), weights.mean((1, 2))
