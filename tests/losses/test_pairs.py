from itertools import combinations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mlkdc.losses import pairs
from mlkdc.losses.pairs import pair_distances, pairs_within


@pytest.mark.parametrize("groups", [[], [4], [0, 1, 2], [1, 1, 1, 1], [3, 0, 3, 0, 0, 7, 3], [0] * 6 + [5] * 2 + [2]])
def test_every_pair_of_a_group_once(groups):
    first, second = pairs_within(torch.tensor(groups, dtype=torch.long))
    indices = sorted(tuple(sorted(pair)) for pair in zip(first.tolist(), second.tolist(), strict=True))
    assert indices == [(i, j) for i, j in combinations(range(len(groups)), 2) if groups[i] == groups[j]]


@pytest.mark.parametrize("chunk", [1, 40, pairs.CHUNK])
def test_distances_and_gradient_equal_plain_torch_in_chunks_of_any_size(chunk, monkeypatch):
    monkeypatch.setattr(pairs, "CHUNK", chunk)
    vectors = torch.randn(12, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    vectors[3] = vectors[2]
    ours, plain = vectors.clone().requires_grad_(), vectors.clone().requires_grad_()
    first, second = pairs_within(torch.tensor([0, 1, 1, 1, 0, 2, 2, 2, 2, 2, 1, 0]))
    weights = torch.arange(1.0, len(first) + 1, dtype=torch.float64)

    distances = pair_distances(ours, first, second)
    expected = torch.linalg.vector_norm(plain[first] - plain[second], dim=1)
    (weights * distances).sum().backward()
    (weights * expected).sum().backward()

    torch.testing.assert_close(distances, expected)
    torch.testing.assert_close(ours.grad, plain.grad)


class _Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_no_tensor_of_pairs_times_size(monkeypatch):
    monkeypatch.setattr(pairs, "CHUNK", 1 << 10)
    members, size = 80, 32
    vectors = torch.randn(members, size, requires_grad=True)
    with _Largest() as largest:
        first, second = pairs_within(torch.zeros(members, dtype=torch.long))
        pair_distances(vectors, first, second).sum().backward()
    count = members * (members - 1) // 2
    assert count <= largest.elements <= max(count, members * size, 1 << 10)
