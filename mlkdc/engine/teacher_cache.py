"""The teacher's outputs on disk, so that runs that see the same views pay for its forward pass once."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mlkdc.distill import Outputs
from mlkdc.resources import write_atomic

LARGEST_BYTES = 2 * 2**30


class TeacherCache:
    """One epoch's teacher outputs after the other, in the order in which batches come.

    Args:
        folder: names all that the outputs depend on (teacher, data, views, order, batch size).
        epochs: how many epochs the run will take, to judge whether the cache would grow too large.

    Only logits and the embeddings of positive (image, class) pairs are kept, the latter in half precision.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        self.folder = folder
        self.epochs = epochs
        self.on = True
        self._kept: dict[str, Tensor] | None = None
        self._fresh: list[Outputs] = []
        self._row = self._pair = 0

    def _file(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.safetensors"

    def start(self, epoch: int) -> None:
        """Begin an epoch: read it, or get ready to collect it."""
        self._kept = load_file(self._file(epoch)) if self._file(epoch).is_file() else None
        self._fresh, self._row, self._pair = [], 0, 0

    def get(self, targets: Tensor, embeddings: bool) -> Outputs | None:
        """The outputs for the next batch (targets ``[b, q]``), or None if they must be computed."""
        if self._kept is None or (embeddings and "embeddings" not in self._kept):
            self._kept = None
            return None
        rows, pairs = len(targets), int(targets.sum())
        logits = self._kept["logits"][self._row : self._row + rows].to(targets.device)
        packed = None
        if embeddings:
            packed = self._kept["embeddings"][self._pair : self._pair + pairs].float().to(targets.device)
        self._row, self._pair = self._row + rows, self._pair + pairs
        return Outputs(logits, packed)

    def put(self, outputs: Outputs) -> Outputs:
        """Collect one batch's outputs; returns them as :meth:`get` will, so that a run does not depend on the cache."""
        packed = None if outputs.embeddings is None else outputs.embeddings.half()
        if self.on:
            self._fresh.append(Outputs(outputs.logits.float().cpu(), None if packed is None else packed.cpu()))
        return Outputs(outputs.logits.float(), None if packed is None else packed.float())

    def finish(self, epoch: int) -> None:
        """Write the epoch if it was collected, unless all epochs together would be too large."""
        if not self._fresh or not self.on:
            return
        tensors = {"logits": torch.cat([item.logits for item in self._fresh])}
        packed = [item.embeddings for item in self._fresh if item.embeddings is not None]
        if packed:
            tensors["embeddings"] = torch.cat(packed)
        size = sum(tensor.nbytes for tensor in tensors.values())
        self.on = size * self.epochs <= LARGEST_BYTES
        self._fresh = []
        if self.on:
            self.on = False  # unless the disk takes it
            write_atomic(self._file(epoch), lambda temporary: save_file(tensors, temporary))
            self.on = True
