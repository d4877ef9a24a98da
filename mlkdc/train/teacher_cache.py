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


def rounded(outputs: Outputs) -> Outputs:
    """In float32, but no more exact than what is kept: so that a run does not depend on whether it is."""
    floats: dict[str, Any] = {name: value.float() for name, value in _halved(outputs).items()}
    return replace(outputs, **floats)


def _halved(outputs: Outputs) -> dict[str, Tensor]:
    """The tensors as they are kept, by field."""
    present = {name: value for name, value in vars(outputs).items() if isinstance(value, Tensor)}
    return {name: value if name == "logits" else value.half() for name, value in present.items()}


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
        self._kept = load_file(self._file(epoch)) if self._file(epoch).is_file() else None
        self._fresh, self._row, self._pair = [], 0, 0

    def get(self, targets: Tensor, asked: frozenset[str]) -> Outputs | None:
        """The asked-for outputs for the next batch (targets ``[b, q]``), or None if they must be computed."""
        if self._kept is None or not asked <= self._kept.keys():
            self._kept = None
            return None
        rows = slice(self._row, self._row + len(targets))
        pairs = slice(self._pair, self._pair + int(targets.sum()))
        self._row, self._pair = rows.stop, pairs.stop
        kept = {name: self._kept[name][pairs if name == "embeddings" else rows] for name in asked}
        found: dict[str, Any] = {name: value.float().to(targets.device) for name, value in kept.items()}
        return Outputs(**found)

    def put(self, outputs: Outputs) -> None:
        """Collect one batch's outputs, which :func:`rounded` has made such as :meth:`get` will give them."""
        if self.on:
            self._fresh.append({name: value.cpu() for name, value in _halved(outputs).items()})

    def finish(self, epoch: int) -> None:
        """Write the epoch if it was collected, unless all epochs together would be too large."""
        if not self._fresh or not self.on:
            return
        tensors = {name: torch.cat([batch[name] for batch in self._fresh]) for name in self._fresh[0]}
        self._fresh = []
        if self._file(epoch).is_file():  # another run has kept other outputs of the same views
            tensors = {**load_file(self._file(epoch)), **tensors}
        size = sum(tensor.nbytes for tensor in tensors.values())
        self.on = size * self.epochs <= LARGEST_BYTES
        if self.on:
            self.on = False  # unless the disk takes it
            write_atomic(self._file(epoch), lambda temporary: save_file(tensors, temporary))
            self.on = True
