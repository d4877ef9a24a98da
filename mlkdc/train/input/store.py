"""Pictures as tensors: decoded once into memory when they fit, else on demand."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mlkdc.images import load_square
from mlkdc.types import Sample

MEMORY_SHARE = 0.25


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class ImageStore(Dataset[tuple[int, Tensor]]):
    """The pictures of some samples, each stretched to a square.

    Args:
        samples: which pictures.
        size: side in pixels.

    Items are ``(index, uint8[3, size, size])``. All are decoded up front when they take at most a quarter of the
    machine's memory.
    """

    def __init__(self, samples: Sequence[Sample], size: int) -> None:
        self.samples = samples
        self.size = size
        self.cached: Tensor | None = None
        if len(samples) * 3 * size * size <= MEMORY_SHARE * _memory_bytes():
            self.cached = torch.empty((len(samples), 3, size, size), dtype=torch.uint8)
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for index, image in enumerate(pool.map(self._decode, range(len(samples)))):
                    self.cached[index] = image

    def _decode(self, index: int) -> Tensor:
        pixels = load_square(self.samples[index].image, self.size)
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        return index, self.cached[index] if self.cached is not None else self._decode(index)


class EpochOrder(Sampler[int]):
    """A random order that depends on the seed and the epoch alone, so that a resumed run sees the same one."""

    def __init__(self, length: int, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        order = np.random.Generator(np.random.Philox(key=[self.seed, 2 * self.epoch + 1]))
        return iter(order.permutation(self.length).tolist())


def batches(
    store: ImageStore, batch_size: int, workers: int, order: EpochOrder | None
) -> DataLoader[tuple[int, Tensor]]:
    """Batches of ``(index int64[b], uint8[b, 3, size, size])``; without an order, one pass in stored order.

    With an order, a last batch smaller than the others is dropped: batch statistics and the relation terms
    need company.
    """
    return DataLoader(
        store,
        batch_size=batch_size,
        sampler=order,
        num_workers=0 if store.cached is not None else workers,
        drop_last=order is not None and len(store) >= batch_size,
        persistent_workers=workers > 0 and store.cached is None,
    )
