"""ExecuTorch: one .pte program whose work is done by XNNPACK."""

from itertools import accumulate, pairwise
from typing import Any

import torch
from torch.fx import Graph, Node

from mlkdc.exporting.formats import EXPORTERS
from mlkdc.exporting.int8.pt2e import quantize, takes_batches
from mlkdc.exporting.job import Built, Job
from mlkdc.records.manifest import RuntimeDetails
from mlkdc.runtime.backends.executorch import METADATA
from mlkdc.runtime.quiet import quiet

FILE = "model.pte"
_aten = torch.ops.aten
_SPLITS = (_aten.chunk.default, _aten.split.Tensor, _aten.split_with_sizes.default)


@EXPORTERS.register("executorch")
def export_executorch(job: Job) -> Built:
    """Write ``model.pte`` with one method, ``forward``, and for each text that it says of itself one that gives it.

    The operators that XNNPACK left to ExecuTorch's kernels are named in the details, as ``outside_xnnpack``.
    """
    with quiet():
        if job.quantization:
            quantized = quantize(_of_any_number(job.model, job), job.quantization, job.input_dtype)
            program = _exported(quantized, job)
        else:
            program = _exported(job.model, job)
        lowered, outside = _lower(program, {f"{METADATA}{name}": text for name, text in job.metadata.items()})
    (job.folder / FILE).write_bytes(lowered.buffer)
    return Built([FILE], RuntimeDetails(outside_xnnpack=outside))


def _exported(model: torch.nn.Module, job: Job) -> torch.export.ExportedProgram:
    """Of one image."""
    image = torch.zeros(job.input_shape, dtype=getattr(torch, job.input_dtype))
    program = torch.export.export(model, (image,))
    _slice_splits(program.graph)
    return program


def _of_any_number(model: torch.nn.Module, job: Job) -> torch.export.ExportedProgram:
    """Of any number of images, or of one where the model has a shape for the number that it was exported with."""
    # One image would be taken for a constant.
    images = torch.zeros(2, *job.input_shape[1:], dtype=getattr(torch, job.input_dtype))
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    if not takes_batches(program):
        return _exported(model, job)
    _slice_splits(program.graph)
    return program


def _slice_splits(graph: Graph) -> None:
    """Splits become slices, which XNNPACK takes: each split would end its part of the program and begin another."""
    for node in list(graph.nodes):
        if node.target in _SPLITS:
            _slice_split(graph, node)


def _slice_split(graph: Graph, split: Node) -> None:
    source, _, *rest = split.args
    dim: Any = rest[0] if rest else 0
    sizes = [part.shape[dim] for part in split.meta["val"]]
    bounds = list(pairwise(accumulate(sizes, initial=0)))
    for part in list(split.users):
        number: Any = part.args[1]
        with graph.inserting_before(part):
            piece = graph.call_function(_aten.slice.Tensor, (source, dim, *bounds[number]))
        piece.meta = dict(part.meta)
        part.replace_all_uses_with(piece)
        graph.erase_node(part)
    graph.erase_node(split)


def _lower(program: torch.export.ExportedProgram, texts: dict[str, str]) -> tuple[Any, tuple[str, ...]]:
    """ExecuTorch's program, and the operators that are not in XNNPACK's part of it."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()], constant_methods=texts)
    outside = set()
    for node in edge.exported_program().graph.nodes:
        # The calls into XNNPACK's part have no schema.
        if node.op == "call_function" and hasattr(node.target, "_schema"):
            outside.add(node.target._schema.name)
    return edge.to_executorch(), tuple(sorted(outside))
