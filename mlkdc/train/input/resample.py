"""Parts of images at another size, with the filter that Pillow resizes image files with."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

#: Of a crop's width / height: at most this, at least its inverse.
LARGEST_ASPECT = 4 / 3

#: How many times as wide as a view an image is stored at most. A smaller crop than that allows is enlarged.
LARGEST_STORED = 2

#: Images that are resampled together on a CPU: what lies between the two directions then stays in its cache.
_TOGETHER = 4


def stored_size(size: int, crop: float) -> int:
    """The side in pixels at which images are stored for views of ``size`` pixels.

    No crop is narrower than ``sqrt(crop * 3 / 4)`` of the image: the narrowest too has at least a pixel for each of the
    view's, in both directions, so that views are reduced and never enlarged, as validation images are. At most
    :data:`LARGEST_STORED` times the view's size, which is enough for crops of a third of the area and larger; of
    smaller ones the smallest are enlarged.

    Args:
        size: of the views.
        crop: smallest fraction of the area in a crop; 1 = no crop.
    """
    if crop == 1:
        return size
    narrowest = math.sqrt(crop / LARGEST_ASPECT)
    return min(math.ceil(size / narrowest), LARGEST_STORED * size)


def resample(images: Tensor, boxes: Tensor, mirrored: Tensor, size: int) -> Tensor:
    """A box of every image, resized to a square as ``Pillow.Image.resize(size, BILINEAR, box=box)`` does.

    Every pixel is a mean, weighted by a triangle around its center, of those of the image: as wide as two pixels of
    the result, or of the image where the box is enlarged. It is taken in one direction after the other, and reads
    across the border of the box, but not of the image.

    Args:
        images: ``[b, 3, s, s]``, of any type.
        boxes: ``[b, 4]``: left, top, right, bottom as fractions of the side; on the CPU.
        mirrored: ``bool[b]``, whose result is mirrored left-right; on the CPU.
        size: side of the result in pixels.

    Returns:
        ``float32[b, 3, size, size]``; an image's does not depend on the others.
    """
    left, top, right, bottom = boxes.T
    # A box from right to left gives its columns in that order.
    first_edge, last_edge = torch.where(mirrored, right, left), torch.where(mirrored, left, right)
    device, stored = images.device, images.shape[-1]
    columns, column_weights = _triangles(first_edge, last_edge, stored, size, device)
    rows, row_weights = _triangles(top, bottom, stored, size, device)
    views = torch.empty(len(images), 3, size, size, device=device)
    together = len(images)
    if device.type == "cpu":
        together = _TOGETHER
    for first in range(0, len(images), together):
        part = slice(first, first + together)
        lower = _mean_rows(images[part].float(), rows[part], row_weights[part])
        across = _mean_rows(lower.transpose(2, 3).contiguous(), columns[part], column_weights[part])
        views[part] = across.transpose(2, 3)
    return views


def _triangles(start: Tensor, end: Tensor, stored: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For each of ``size`` results between two edges: which pixels of a line count, and how much.

    Args:
        start, end: ``[b]``, the edges as fractions of the line, in either order.
        stored: pixels of the line.
        size: number of results.
        device: of what is returned.

    Returns:
        Positions ``int32[b, size, k]`` in the line, and their weights ``float32[b, size, k]``, which sum to 1.
    """
    # In double precision, as in Pillow, which some accelerators do not have: hence on the CPU.
    start, end = start.double() * stored, end.double() * stored
    scale = (end - start) / size
    half_width = scale.abs().clamp(min=1)[:, None]
    steps = torch.arange(size) + 0.5
    centers = start[:, None] + steps * scale[:, None]
    first = (centers - half_width - 0.5).ceil()
    taps = torch.arange(math.ceil(2 * max(stored / size, 1)))
    positions = first[:, :, None] + taps
    distances = (positions + 0.5 - centers[:, :, None]).abs() / half_width[:, :, None]
    weights = (1 - distances).clamp(min=0)
    # Beyond the image there is nothing.
    weights = weights * ((positions >= 0) & (positions < stored))
    weights = weights / weights.sum(-1, keepdim=True)
    return positions.clamp(0, stored - 1).int().to(device), weights.float().to(device)


def _mean_rows(images: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Weighted means of the rows ``float32[b, 3, s, n]`` of images: ``[b, 3, size, n]``."""
    count, channels, stored, length = images.shape
    _, size, taps = rows.shape
    # A bag of embeddings is a weighted sum of some rows of a table: the table here is all rows of all images.
    offsets = stored * torch.arange(count * channels, device=images.device, dtype=rows.dtype)
    bags = rows[:, None] + offsets.view(count, channels, 1, 1)
    bag_weights = weights[:, None].expand(count, channels, size, taps)
    means = F.embedding_bag(
        bags.reshape(-1, taps),
        images.reshape(-1, length),
        mode="sum",
        per_sample_weights=bag_weights.reshape(-1, taps),
    )
    return means.view(count, channels, size, length)
