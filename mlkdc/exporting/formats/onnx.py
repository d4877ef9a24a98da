"""ONNX, as one file with its weights inside."""

import ast
from typing import Any

import torch

from mlkdc.errors import MlkdcError, first_line
from mlkdc.exporting.formats import EXPORTERS, INPUT, OUTPUT, Built, Job
from mlkdc.runtime.quiet import quiet

FILE = "model.onnx"


@EXPORTERS.register("onnx")
def export_onnx(job: Job) -> Built:
    """Write ``model.onnx``: exported, slimmed, for int8 quantized, and checked.

    Raises:
        MlkdcError: the exporter gave up, or wrote an invalid graph, or one with other inputs or outputs than asked.
    """
    from mlkdc.exporting.int8.qdq import quantize

    graph = onnx_graph(job)
    if job.quantization:
        graph = quantize(graph, job.quantization, job.input_dtype)
    save(graph, job)
    return Built([FILE])


def onnx_graph(job: Job) -> Any:
    """The job's model as a slimmed, named ``ModelProto`` in float32; other formats begin with it.

    A node's name is that of the torch module it came from, a slash, and the operator's own: ``head.ffn.0/linear``.

    Raises:
        MlkdcError: the exporter gave up.
    """
    import onnx
    import onnxslim

    if (job.target.opset or 0) > onnx.defs.onnx_opset_version():
        known = onnx.defs.onnx_opset_version()
        raise MlkdcError(f"opset {job.target.opset} is not known to onnx {onnx.__version__}, which goes up to {known}")
    with quiet():
        program = _export(job)
    assert program is not None
    graph = program.model_proto
    _name_by_module(graph)
    return onnxslim.slim(graph)


def save(graph: Any, job: Job) -> None:
    """Check a graph and write it as the job's ``model.onnx``.

    Raises:
        MlkdcError: it is not valid, or takes or gives something else than asked.
    """
    import onnx

    try:
        onnx.checker.check_model(graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise MlkdcError(f"the exported graph is not valid ONNX: {error}") from error
    _check_signature(graph, job)
    onnx.save(graph, job.folder / FILE)


def module_of(node: str) -> str:
    """The dotted torch module that a node of :func:`onnx_graph` came from, by the node's name."""
    return node.rpartition("/")[0]


def _name_by_module(graph: Any) -> None:
    """Put the module before the name of each node and of what it gives: what is fused later is named after that."""
    kept = {value.name for value in graph.graph.output}
    renamed: dict[str, str] = {}
    for node in graph.graph.node:
        scopes = next((item.value for item in node.metadata_props if item.key == "pkg.torch.onnx.name_scopes"), "['']")
        *modules, _ = ast.literal_eval(scopes)
        module = modules[-1] if modules else ""
        node.name = f"{module}/{node.name}"
        renamed |= {name: f"{module}/{name}" for name in node.output if name and name not in kept}
    for node in graph.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for value in graph.graph.value_info:
        value.name = renamed.get(value.name, value.name)


def _export(job: Job) -> torch.onnx.ONNXProgram | None:
    shape = list(job.input_shape)
    if job.dynamic:
        shape[0] = 2  # torch.export takes a size of 1 for a constant
    image = torch.zeros(shape, dtype=getattr(torch, job.input_dtype))
    try:
        return torch.onnx.export(
            job.model,
            (image,),
            dynamo=True,
            opset_version=job.target.opset,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},) if job.dynamic else None,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        hint = "try without a dynamic batch" if job.dynamic else "this architecture may not be exportable"
        # The exporter's own words begin with advice of many lines.
        said = first_line(error.__cause__ or error)
        raise MlkdcError(f"torch.onnx could not export the model ({said}); {hint}") from error


def _check_signature(model: Any, job: Job) -> None:
    batch = "batch" if job.dynamic else 1
    expected = [
        (INPUT, job.input_dtype, [batch, *job.input_shape[1:]]),
        (OUTPUT, "float32", [batch, job.classes]),
    ]
    found = [_describe(value) for value in (*model.graph.input, *model.graph.output)]
    if found != expected:
        raise MlkdcError(f"the exported graph has inputs and outputs {found}, expected {expected}")


def _describe(value: Any) -> tuple[str, str, list[int | str]]:
    import onnx

    tensor = value.type.tensor_type
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return value.name, dtype, [size.dim_param or size.dim_value for size in tensor.shape.dim]
