"""The teacher's answers on disk, so that all runs that see the same views pay for its forward pass once.

With a few views of each image that take turns (``data.augment.views``) also one run's epochs share them: a patient
teacher (Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent") is asked once.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mlkdc.figures import counted, megabytes
from mlkdc.losses import Outputs
from mlkdc.resources import write_atomic
from mlkdc.train.input.views import view_number

#: What the answers that one run needs may fill on disk. Those that runs with other terms need lie next to them.
LARGEST_BYTES = 2 * 2**30


def halved(outputs: Outputs) -> dict[str, Tensor]:
    """The tensors as the cache keeps them, by field: all but the logits in half precision; no feature maps."""
    halves = {}
    for name, value in outputs.present().items():
        if isinstance(value, tuple):
            continue
        if name != "logits":  # of which few bytes would be saved
            value = value.half()
        halves[name] = value
    return halves


def widened(outputs: Outputs, halves: dict[str, Tensor]) -> Outputs:
    """The outputs in float32, but no more exact than what is kept of them."""
    changes: dict[str, Any] = {name: value.float() for name, value in halves.items()}
    return replace(outputs, **changes)


class TeacherCache:
    """A teacher's answers to numbered views of n images, one after another view.

    A file holds one field of all images' answers to one view, in the order of the images, and is complete or absent:
    how they were batched, in which order, for how many epochs and for which student leaves no trace in it. Where two
    runs write the same file, the last one stays; both are right.

    Args:
        folder: names all that the answers depend on (teacher, data, how views are drawn).
        targets: ``[n, q]`` of the images.
        shapes: for each field that is kept (by :func:`halved`), the shape of one image's row; for ``embeddings``, of
            one positive (image, class) pair's.
        views: how many of an image take turns; None = each epoch has its own.
        epochs: of the training.

    Attributes:
        collecting: whether the present view's answers are not there, and are collected.
    """

    def __init__(
        self, folder: Path, targets: Tensor, shapes: Mapping[str, tuple[int, ...]], views: int | None, epochs: int
    ) -> None:
        self.folder, self.shapes, self.views = folder, dict(shapes), views
        self.targets = targets.bool()
        # The row of every positive pair, counted through all images.
        self.pairs = (self.targets.flatten().cumsum(0) - 1).view(self.targets.shape)
        self.numbers = sorted({view_number(epoch, views) for epoch in range(epochs)})
        self.on = self.size_bytes <= LARGEST_BYTES
        self.collecting = True
        self._number = 0
        self._answers: dict[str, Tensor] = {}
        self._seen = torch.zeros(len(targets), dtype=torch.bool)

    def _file(self, number: int, name: str) -> Path:
        return self.folder / f"view-{number:04d}-{name}.safetensors"

    def _rows(self, name: str) -> int:
        """How many rows a field has for all images."""
        if name == "embeddings":
            return int(self.targets.sum())
        return len(self.targets)

    @property
    def size_bytes(self) -> int:
        """Of all views' answers."""
        total = 0
        for name, shape in self.shapes.items():
            total += self._rows(name) * math.prod(shape) * _dtype(name).itemsize
        return total * len(self.numbers)

    def _has(self, number: int) -> bool:
        for name, shape in self.shapes.items():
            expected = [self._rows(name), *shape]
            try:
                with safe_open(self._file(number, name), "pt") as file:
                    if file.get_slice(name).get_shape() != expected:
                        return False
            except (OSError, SafetensorError):  # absent, or cut off by something else than its writer
                return False
        return True

    @property
    def complete(self) -> bool:
        """Whether the answers to all views of the training are there."""
        return self.on and all(self._has(number) for number in self.numbers)

    def describe(self) -> str:
        """What is kept, its size and how much of it is there, in one sentence."""
        views, images = counted(len(self.numbers), "view"), counted(len(self.targets), "image")
        what = f"the teacher's answers: {views} x {images}, {megabytes(self.size_bytes, 1)} MB"
        if not self.on:
            limit = megabytes(LARGEST_BYTES, 0)
            return f"{what}: more than {limit} MB, not cached; fewer views of each image take less: data.augment.views"
        there = sum(self._has(number) for number in self.numbers)
        return f"{what}, cached in {self.folder}; {there} of {views} {_are(there)} there already"

    def start(self, epoch: int) -> None:
        """Begin an epoch: read its view's answers, or get ready to collect them."""
        self._number = view_number(epoch, self.views)
        self._answers = {}
        self._seen.zero_()
        self.collecting = not (self.on and self._has(self._number))
        if not self.collecting:
            for name in self.shapes:
                self._answers.update(load_file(self._file(self._number, name)))

    def get(self, index: Tensor) -> Outputs:
        """The answers to some images ``int64[b]``, on the device of the index."""
        halves = {}
        for name, rows in self._answers.items():
            halves[name] = rows[self._where(name, index.cpu())].to(index.device)
        return widened(Outputs(), halves)

    def _where(self, name: str, index: Tensor) -> Tensor:
        """The rows of a field that belong to some images, in the order of ``targets[index].nonzero()``."""
        if name == "embeddings":
            return self.pairs[index][self.targets[index]]
        return index

    def put(self, index: Tensor, halves: dict[str, Tensor]) -> None:
        """Collect a batch's answers, as :func:`halved` has made them."""
        if not self.on:
            return
        index = index.cpu()
        for name, shape in self.shapes.items():
            if name not in self._answers:
                self._answers[name] = torch.zeros(self._rows(name), *shape, dtype=_dtype(name))
            self._answers[name][self._where(name, index)] = halves[name].to("cpu", _dtype(name))
        self._seen[index] = True

    def missing(self) -> list[int]:
        """The images that a collected view lacks."""
        if not (self.on and self.collecting):
            return []
        missing: list[int] = (~self._seen).nonzero().flatten().tolist()
        return missing

    def finish(self) -> None:
        """Write a view that was collected.

        Raises:
            MlkdcError: the disk is full; nothing more is kept.
        """
        if not (self.on and self.collecting):
            return
        assert self._seen.all()
        self.on = False  # unless the disk takes it
        for name, rows in self._answers.items():
            _write(self._file(self._number, name), name, rows)
        self.on = True


def _write(path: Path, name: str, rows: Tensor) -> None:
    write_atomic(path, lambda temporary: save_file({name: rows}, temporary))


def _dtype(name: str) -> torch.dtype:
    """That of a field as :func:`halved` makes it."""
    if name == "logits":
        return torch.float32
    return torch.float16


def _are(count: int) -> str:
    if count == 1:
        return "is"
    return "are"
