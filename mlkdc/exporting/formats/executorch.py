"""ExecuTorch: one .pte program whose work is done by XNNPACK."""

from itertools import accumulate, pairwise
from typing import Any

import torch

from mlkdc.errors import MlkdcError, first_line
from mlkdc.exporting.formats import EXPORTERS, Built, Job
from mlkdc.runtime.quiet import quiet

FILE = "model.pte"
_aten = torch.ops.aten
_SPLITS = (_aten.chunk.default, _aten.split.Tensor, _aten.split_with_sizes.default)


@EXPORTERS.register("executorch")
def export_executorch(job: Job) -> Built:
    """Write ``model.pte`` with one method, ``forward``.

    The operators that XNNPACK left to ExecuTorch's own kernels are named in the details, as ``outside_xnnpack``.

    Raises:
        MlkdcError: the model cannot be exported, quantized or lowered.
    """
    from mlkdc.exporting.int8.pt2e import quantize

    try:
        with quiet():
            program = _exported(job.model, job)
            if job.quantization:
                program = _exported(quantize(program, job.quantization, job.input_dtype), job)
            lowered, outside = _lower(program)
    except Exception as error:  # torch.export, torchao and ExecuTorch each raise their own
        raise MlkdcError(
            f"executorch could not export the model ({first_line(error)}); this architecture may not be exportable"
        ) from error
    (job.folder / FILE).write_bytes(lowered.buffer)
    return Built([FILE], {"outside_xnnpack": outside})


def _exported(model: torch.nn.Module, job: Job) -> torch.export.ExportedProgram:
    image = torch.zeros(job.input_shape, dtype=getattr(torch, job.input_dtype))
    program = torch.export.export(model, (image,))
    _slice_splits(program.graph)
    return program


def _slice_splits(graph: torch.fx.Graph) -> None:
    """Splits become slices, which XNNPACK takes: each split would end its part of the program and begin another."""
    for node in [each for each in graph.nodes if each.target in _SPLITS]:
        source, dim = node.args[0], node.args[2] if len(node.args) > 2 else 0
        bounds = list(pairwise(accumulate((part.shape[dim] for part in node.meta["val"]), initial=0)))
        for part in list(node.users):
            with graph.inserting_before(part):
                cut = graph.call_function(_aten.slice.Tensor, (source, dim, *bounds[part.args[1]]))
            cut.meta = dict(part.meta)
            part.replace_all_uses_with(cut)
            graph.erase_node(part)
        graph.erase_node(node)


def _lower(program: torch.export.ExportedProgram) -> tuple[Any, list[str]]:
    """ExecuTorch's program, and the operators that are not in XNNPACK's part of it."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    edge = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    targets = [node.target for node in edge.exported_program().graph.nodes if node.op == "call_function"]
    outside = sorted({each._schema.name for each in targets if hasattr(each, "_schema")})
    return edge.to_executorch(), outside
