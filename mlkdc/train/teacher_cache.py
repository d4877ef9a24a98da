"""The teacher's outputs on disk, so that runs that see the same views pay for its forward pass once."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mlkdc.losses import Outputs
from mlkdc.resources import write_atomic

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
    """One epoch's teacher outputs after the other, in the order in which batches come.

    Args:
        folder: names all that the outputs depend on (teacher, data, views, order, batch size).
        epochs: how many epochs the run will take, to judge whether the cache would grow too large.

    Logits, pooled features and the embeddings of positive (image, class) pairs are kept, all but the logits in half
    precision; feature maps are not.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder = folder
        self.epochs = epochs
        self.on = True
        self._kept: dict[str, Tensor] | None = None
        self._fresh: list[dict[str, Tensor]] = []
        self._row = self._pair = 0

    def _file(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.safetensors"

    def start(self, epoch: int) -> None:
        """Begin an epoch: read it, or get ready to collect it."""
        self._kept = None
        if self._file(epoch).is_file():
            self._kept = load_file(self._file(epoch))
        self._fresh, self._row, self._pair = [], 0, 0

    def get(self, targets: Tensor, names: frozenset[str]) -> Outputs | None:
        """The fields of these names for the next batch (targets ``[b, q]``), or None if they must be computed."""
        if self._kept is None or not names <= self._kept.keys():
            self._kept = None
            return None
        rows = slice(self._row, self._row + len(targets))
        pairs = slice(self._pair, self._pair + int(targets.sum()))
        self._row, self._pair = rows.stop, pairs.stop
        halves = {}
        for name in names:
            part = rows
            if name == "embeddings":  # has a row for each positive label, not for each image
                part = pairs
            halves[name] = self._kept[name][part].to(targets.device)
        return widened(Outputs(), halves)

    def put(self, halves: dict[str, Tensor]) -> None:
        """Collect one batch's outputs, as :func:`halved` has made them."""
        if self.on:
            self._fresh.append({name: value.cpu() for name, value in halves.items()})

    def finish(self, epoch: int) -> None:
        """Write the epoch if it was collected, unless all epochs together would be too large.

        Raises:
            MlkdcError: the disk is full; nothing more is kept.
        """
        if not self._fresh or not self.on:
            return
        tensors = {}
        for name in self._fresh[0]:
            tensors[name] = torch.cat([batch[name] for batch in self._fresh])
        self._fresh = []
        if self._file(epoch).is_file():  # another run has kept other outputs of the same views
            tensors = {**load_file(self._file(epoch)), **tensors}
        total_bytes = sum(tensor.nbytes for tensor in tensors.values())
        self.on = False  # unless the outputs are small enough, and the disk takes them
        if total_bytes * self.epochs <= LARGEST_BYTES:
            write_atomic(self._file(epoch), lambda temporary: save_file(tensors, temporary))
            self.on = True
