"""ONNX, as one file with its weights inside."""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from mlkdc.errors import MlkdcError
from mlkdc.export.exporters import EXPORTERS, INPUT, OUTPUT, Job

FILE = "model.onnx"


@EXPORTERS.register("onnx")
def export_onnx(job: Job) -> list[str]:
    """Write ``model.onnx``: exported, slimmed and checked.

    Raises:
        MlkdcError: the exporter gave up, or wrote an invalid graph, or one with other inputs or outputs than asked.
    """
    import onnx
    import onnxslim

    path = job.folder / FILE
    with _quiet():
        program = _export(job)
    assert program is not None
    slimmed = onnxslim.slim(program.model_proto)
    try:
        onnx.checker.check_model(slimmed, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise MlkdcError(f"the exported graph is not valid ONNX: {error}") from error
    _check_signature(slimmed, job)
    onnx.save(slimmed, path)
    return [FILE]


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
        raise MlkdcError(f"torch.onnx could not export the model ({_first_line(error)}); {hint}") from error


def _first_line(error: BaseException) -> str:
    """The cause's own words: the exporter's begin with advice of many lines."""
    return str(error.__cause__ or error).strip().partition("\n")[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No notes of the exporter about itself; what is wrong is raised, and the result is compared afterwards."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    for each in loggers:
        each.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


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
