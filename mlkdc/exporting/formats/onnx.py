"""ONNX, as one file with its weights inside."""

from typing import Any

import torch

from mlkdc.errors import MlkdcError, UsageError, first_line
from mlkdc.exporting.formats import EXPORTERS
from mlkdc.exporting.int8.qdq import quantize
from mlkdc.exporting.job import INPUT, OUTPUT, Built, Job
from mlkdc.exporting.naming import name_by_module
from mlkdc.runtime.quiet import quiet

FILE = "model.onnx"
_BATCH = "batch"


@EXPORTERS.register("onnx")
def export_onnx(job: Job) -> Built:
    """Write ``model.onnx``: exported, slimmed, for int8 quantized, and checked.

    Raises:
        MlkdcError: the exporter gave up, or wrote an invalid graph, or one with other inputs or outputs than the job's.
    """
    graph = onnx_graph(job)
    if job.quantization:
        graph = quantize(graph, job.quantization, job.input_dtype)
    save(graph, job)
    return Built([FILE])


def onnx_graph(job: Job) -> Any:
    """The job's model as a slimmed ``ModelProto`` in float32; other formats begin with it.

    A node's name is that of the torch module it came from, a slash, and the operator's: ``head.ffn.0/linear``.

    Raises:
        UsageError: an opset that onnx does not know, or the exporter cannot write.
        MlkdcError: the exporter gave up.
    """
    import onnx

    newest = onnx.defs.onnx_opset_version()
    if (job.target.opset or 0) > newest:
        raise UsageError(f"opset {job.target.opset} is not known to onnx {onnx.__version__}, which goes up to {newest}")
    return onnx.load_from_string(job.converted.of(job.model, lambda: _slimmed(job)))


def _slimmed(job: Job) -> bytes:
    import onnxslim

    with quiet():
        program = _export(job)
    assert program is not None
    graph = program.model_proto
    _check_opset(graph, job)
    name_by_module(graph)
    content: bytes = onnxslim.slim(graph).SerializeToString()
    return content


def _check_opset(graph: Any, job: Job) -> None:
    """Raise UsageError where the exporter wrote a later opset than was wanted, as it does without a word."""
    written = max(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx"))
    if job.target.opset is not None and written > job.target.opset:
        raise UsageError(f"torch.onnx cannot write opset {job.target.opset}: it wrote {written}, the lowest to choose")


def save(graph: Any, job: Job) -> None:
    """Check a graph and write it as the job's ``model.onnx``.

    Raises:
        MlkdcError: it is not valid, or has other inputs or outputs than the job's.
    """
    import onnx

    try:
        onnx.checker.check_model(graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise MlkdcError(f"the exported graph is not valid ONNX: {error}") from error
    _check_signature(graph, job)
    onnx.helper.set_model_props(graph, job.metadata)
    onnx.save(graph, job.folder / FILE)


def _export(job: Job) -> torch.onnx.ONNXProgram | None:
    batch, *size = job.input_shape
    dynamic_shapes = None
    if job.dynamic:
        batch = 2  # torch.export takes a size of 1 for a constant
        dynamic_shapes = ({0: torch.export.Dim(_BATCH)},)
    image = torch.zeros(batch, *size, dtype=getattr(torch, job.input_dtype))
    try:
        return torch.onnx.export(
            job.model,
            (image,),
            dynamo=True,
            opset_version=job.target.opset,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=dynamic_shapes,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        hint = "try without a dynamic batch" if job.dynamic else "this architecture may not be exportable"
        # The exporter's message begins with advice of many lines.
        cause = first_line(error.__cause__ or error)
        raise MlkdcError(f"torch.onnx could not export the model ({cause}); {hint}") from error


def _check_signature(model: Any, job: Job) -> None:
    batch: int | str = _BATCH if job.dynamic else 1
    expected = [
        (INPUT, job.input_dtype, [batch, *job.input_shape[1:]]),
        (OUTPUT, "float32", [batch, job.classes]),
    ]
    actual = [_describe(value) for value in (*model.graph.input, *model.graph.output)]
    if actual != expected:
        raise MlkdcError(f"the exported graph has inputs and outputs {actual}, expected {expected}")


def _describe(value: Any) -> tuple[str, str, list[int | str]]:
    import onnx

    tensor = value.type.tensor_type
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return value.name, dtype, [size.dim_param or size.dim_value for size in tensor.shape.dim]
