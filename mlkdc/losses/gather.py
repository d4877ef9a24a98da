"""The full batch on every process, so that a loss does not depend on how a batch was split."""

from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mlkdc.losses.batch import Batch, Outputs


class _AllGather(torch.autograd.Function):
    """Concatenates equally long tensors of all processes; gradients of all processes are summed back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, tensor)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every process has the loss of the full batch, and what reached these rows there belongs to their gradient.
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def _lengths(tensor: Tensor) -> list[int]:
    """The length of the tensor in every process."""
    length = torch.tensor([len(tensor)], device=tensor.device)
    lengths = torch.empty(dist.get_world_size(), dtype=length.dtype, device=length.device)
    dist.all_gather_into_tensor(lengths, length)
    return lengths.tolist()


def _rows(tensor: Tensor, sizes: list[int]) -> Tensor:
    """``[n, ...]`` of every process below each other; ``sizes`` has each one's n."""
    longest = max(sizes)
    # Collectives take tensors of one shape: shorter ones are padded, and the padding is cut off again.
    padded = torch.cat([tensor, tensor.new_zeros(longest - len(tensor), *tensor.shape[1:])])
    parts = _AllGather.apply(padded.contiguous()).split(longest)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def gathered(batch: Batch) -> Batch:
    """The batch of all processes together; the batch itself where there is one process.

    Feature maps stay where they are: they are large, and no term compares those of different images.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return batch

    images = _lengths(batch.targets)

    def of_all(_: str, outputs: Outputs) -> Outputs:
        by_image = replace(outputs, embeddings=None, stages=None).map(lambda tensor: _rows(tensor, images))
        embeddings = outputs.embeddings
        if embeddings is not None:  # one row per positive label: as many as the images of a process have
            embeddings = _rows(embeddings, _lengths(embeddings))
        return replace(by_image, embeddings=embeddings, stages=outputs.stages)

    return replace(batch.map(of_all), targets=_rows(batch.targets, images))
