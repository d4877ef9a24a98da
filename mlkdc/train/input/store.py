"""Images as tensors: decoded once into memory when they fit, else on demand."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mlkdc.errors import UsageError
from mlkdc.fit import Fit
from mlkdc.images import open_rgb, square
from mlkdc.records.manifest import Preprocess
from mlkdc.train.containers import CGROUPS, MEMBERSHIP, memory_limit
from mlkdc.train.processes import count_here
from mlkdc.types import Sample

#: Of the memory, what the decoded images of one store may fill in all processes of the machine together: a run can have
#: several stores next to the model.
MEMORY_FRACTION = 0.25

#: Where the system does not say how much memory it has (Windows): what any machine that trains has.
ASSUMED_MEMORY_BYTES = 4 * 2**30


def memory_bytes() -> int:
    """Main memory of the machine, or :data:`ASSUMED_MEMORY_BYTES` where the system does not say."""
    if not hasattr(os, "sysconf"):
        return ASSUMED_MEMORY_BYTES
    try:
        page_bytes, pages = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return ASSUMED_MEMORY_BYTES
    # POSIX has -1 for a value that is not determined.
    if page_bytes <= 0 or pages <= 0:
        return ASSUMED_MEMORY_BYTES
    return page_bytes * pages


def store_bytes() -> float:
    """What decoded images of one store may fill in this process, by the memory of the machine or of the container."""
    limits = [memory_bytes()]
    if (limit := memory_limit(CGROUPS, MEMBERSHIP)) is not None:
        limits.append(limit)
    # Every process that trains here has the same images.
    return MEMORY_FRACTION * min(limits) / count_here()


class UnreadableImage(UsageError):
    """An image that cannot be read.

    torch raises the error of a worker process anew, with the worker's traceback for its text. The traceback ends in
    what was said there, which is all that a user needs.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text.rpartition(f"{UnreadableImage.__name__}: ")[2].rstrip())


class ImageStore(Dataset[tuple[int, tuple[Tensor, ...]]]):
    """The images of some samples, each as squares of one or more sizes, which one decoding of the file gives.

    Items are ``(index, (uint8[3, size, size], ...))``, one square for each size. All are decoded up front when they
    take at most a quarter of the memory (:func:`store_bytes`), all sizes together.

    Args:
        samples: which images.
        sizes: sides in pixels.
        fit: how an image becomes a square.
        resampling: the filter that makes it as small.

    Attributes:
        cached: for each size ``uint8[n, 3, size, size]``, or None where items are decoded on demand.

    Raises:
        UnreadableImage: an image is missing or damaged; on demand, when it is read.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        sizes: Sequence[int],
        fit: Fit,
        resampling: Image.Resampling = Image.Resampling.BILINEAR,
    ) -> None:
        self.samples = samples
        self.sizes = tuple(sizes)
        self.fit = fit
        self.resampling = resampling
        self.cached: tuple[Tensor, ...] | None = None
        pixels = sum(size * size for size in self.sizes)
        if len(samples) * 3 * pixels <= store_bytes():
            self.cached = self._decode_all()

    def _decode_all(self) -> tuple[Tensor, ...]:
        count = len(self.samples)
        stored = tuple(torch.empty((count, 3, size, size), dtype=torch.uint8) for size in self.sizes)
        # Threads, not processes: Pillow decodes without holding the interpreter's lock.
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for index, squares in enumerate(pool.map(self._decode, range(count))):
                for images, pixels in zip(stored, squares, strict=True):
                    images[index] = pixels
        return stored

    def _decode(self, index: int) -> tuple[Tensor, ...]:
        try:
            image = open_rgb(self.samples[index].image)
        except UsageError as error:
            raise UnreadableImage(str(error)) from None
        squares = []
        for size in self.sizes:
            # A copy, because an array made from a Pillow image is read-only, which torch warns of.
            pixels = torch.from_numpy(square(image, size, self.fit, self.resampling).copy())
            squares.append(pixels.permute(2, 0, 1))
        return tuple(squares)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[int, tuple[Tensor, ...]]:
        if self.cached is None:
            return index, self._decode(index)
        return index, tuple(images[index] for images in self.cached)


def images_for(preprocess: Preprocess, samples: Sequence[Sample]) -> ImageStore:
    """Images as a model takes them."""
    return ImageStore(samples, (preprocess.size,), preprocess.fit)


def pixels_of(store: ImageStore) -> np.ndarray:
    """All images of a store at its first size, ``uint8[n, 3, s, s]``."""
    return np.stack([store[index][1][0].numpy() for index in range(len(store))])


class EpochOrder(Sampler[int]):
    """A random order that depends only on the seed and the epoch, so that a resumed run sees the same one.

    Args:
        length: number of images in the split.
        seed: the run's seed.

    Attributes:
        epoch: set it before iterating.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length = length
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        # Odd keys: the even ones draw the epoch's views (:class:`mlkdc.train.input.views.Views`).
        generator = np.random.Generator(np.random.Philox(key=[self.seed, 2 * self.epoch + 1]))
        order: list[int] = generator.permutation(self.length).tolist()
        return iter(order)


def batches(
    store: ImageStore, batch_size: int, workers: int, order: EpochOrder | None
) -> DataLoader[tuple[int, tuple[Tensor, ...]]]:
    """Batches of ``(index int64[b], [uint8[b, 3, size, size], ...])``; without an order, one pass in stored order.

    With an order, a last batch smaller than the others is dropped: batch statistics, and the terms on relations
    between images, need enough of them.

    Args:
        store: the images.
        batch_size: b.
        workers: processes that decode images; none where the store has them in memory.
        order: of a training epoch, or None.
    """
    if store.cached is not None:
        workers = 0
    return DataLoader(
        store,
        batch_size=batch_size,
        sampler=order,
        num_workers=workers,
        drop_last=order is not None and len(store) >= batch_size,
        persistent_workers=workers > 0,
        # Workers are seeded when they start, and a loader without any draws a seed in every pass. From torch's own
        # generator, dropout would depend on whether images fit into memory, and on where a training was stopped.
        generator=torch.Generator(),
    )
