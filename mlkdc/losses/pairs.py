"""Distances within groups of vectors, without a loop over groups and without a [pairs, d] tensor."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Elements of the largest temporary; about what a core's cache holds.
CHUNK = 1 << 19


def pairs_within(groups: Tensor) -> tuple[Tensor, Tensor]:
    """All unordered pairs of members of the same group.

    Args:
        groups: ``[P]`` the group of each member, integers in any order.

    Returns:
        Indices ``first`` and ``second``, ``[m]`` each, every pair once.
    """
    order = groups.argsort(stable=True)
    place = torch.arange(len(groups), device=groups.device)
    ends = groups.bincount().cumsum(0)[groups[order]]
    later = ends - place - 1  # members of the same group behind this one, once sorted by group
    left = place.repeat_interleave(later)
    starts = (later.cumsum(0) - later).repeat_interleave(later)
    right = left + 1 + torch.arange(len(left), device=groups.device) - starts
    return order[left], order[right]


def distance_matrix(vectors: Tensor) -> Tensor:
    """Euclidean distances ``[..., n, n]`` between the rows of ``[..., n, d]``, by subtraction; the gradient at distance
    0 is 0.
    """
    return torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")


class _PairDistances(torch.autograd.Function):
    """Differences are computed again in the backward pass, so that only vectors and distances are kept."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, first: Tensor, second: Tensor) -> Tensor:
        distances = vectors.new_empty(len(first))
        for part in _parts(vectors, first):
            difference = vectors[first[part]] - vectors[second[part]]
            torch.linalg.vector_norm(difference, dim=1, out=distances[part])
        ctx.save_for_backward(vectors, first, second, distances)
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        vectors, first, second, distances = ctx.saved_tensors
        # The distance has no derivative at zero; zero is the subgradient that leaves equal vectors alone.
        pull = torch.where(distances > 0, gradient / distances, torch.zeros_like(gradient))
        result = torch.zeros_like(vectors)
        for part in _parts(vectors, first):
            step = pull[part, None] * (vectors[first[part]] - vectors[second[part]])
            result.index_add_(0, first[part], step)
            result.index_add_(0, second[part], step, alpha=-1)
        return result, None, None


def _parts(vectors: Tensor, first: Tensor) -> list[slice]:
    size = max(1, CHUNK // max(1, vectors.shape[1]))
    return [slice(start, start + size) for start in range(0, len(first), size)]


def pair_distances(vectors: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances between ``vectors[first]`` and ``vectors[second]``.

    By subtraction, not by a Gram matrix, which loses the small distances of a tight group to cancellation.
    The gradient at distance zero is zero. Differentiable once.

    Args:
        vectors: ``[P, d]``.
        first: ``[m]`` indices.
        second: ``[m]`` indices.

    Returns:
        ``[m]``.
    """
    distances: Tensor = _PairDistances.apply(vectors, first, second)
    return distances
