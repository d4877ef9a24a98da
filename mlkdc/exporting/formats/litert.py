"""LiteRT: one .tflite file with a signature, as phones read it."""

import numpy as np
import torch
from torch import Tensor, nn

from mlkdc.errors import MlkdcError
from mlkdc.exporting.formats import EXPORTERS
from mlkdc.exporting.int8.tflite import quantize
from mlkdc.exporting.job import INPUT, OUTPUT, Built, Job
from mlkdc.runtime.backends.litert import METADATA
from mlkdc.runtime.quiet import quiet

FILE = "model.tflite"
# Of weights behind the flatbuffer, in bytes.
ALIGNMENT = 16


@EXPORTERS.register("litert")
def export_litert(job: Job) -> Built:
    """Write ``model.tflite``: converted, for int8 quantized, and read back. Its input is NHWC.

    Raises:
        MlkdcError: the converter wrote a file with other inputs or outputs than the job's, or a module that is to
            stay in floating point cannot be found in it.
    """
    with quiet():
        content = job.converted.of(job.model, lambda: _convert(job))
        if job.quantization:
            content = quantize(content, job.model, job.quantization, job.input_dtype)
    content = with_metadata(content, job.metadata)
    _check_signature(content, job)
    (job.folder / FILE).write_bytes(content)
    return Built([FILE])


def with_metadata(content: bytes, values: dict[str, str]) -> bytes:
    """The file with each value in a buffer of its own, under its name in the model's list of metadata."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    for name, value in values.items():
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(value.encode(), dtype=np.uint8)
        entry.name, entry.buffer = f"{METADATA}{name}", len(model.buffers)
        model.buffers.append(buffer)
        model.metadata = [*(model.metadata or []), entry]

    def packed() -> bytes:
        builder = flatbuffers.Builder(len(content))
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    # Larger models have their weights behind the flatbuffer, found by their places in the file, which grows.
    behind = [buffer for buffer in model.buffers if buffer.offset > 1]
    if not behind:
        return packed()
    first = min(buffer.offset for buffer in behind)
    start = -(-len(packed()) // ALIGNMENT) * ALIGNMENT
    for buffer in behind:
        buffer.offset += start - first
    return packed().ljust(start, b"\0") + content[first:]


class _Nhwc(nn.Module):
    """The model for channels-last images, its output named. The converter sees the transposition cancel its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {OUTPUT: self.model(image.permute(0, 3, 1, 2))}


def _convert(job: Job) -> bytes:
    import litert_torch

    batch, channels, height, width = job.input_shape
    image = torch.zeros(batch, height, width, channels, dtype=getattr(torch, job.input_dtype))
    model = litert_torch.convert(_Nhwc(job.model).eval(), sample_kwargs={INPUT: image})
    content: bytes = model.model_content()
    return content


def _check_signature(content: bytes, job: Job) -> None:
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        runner = Interpreter(model_content=content).get_signature_runner()
    batch, channels, height, width = job.input_shape
    expected = [(INPUT, job.input_dtype, [batch, height, width, channels]), (OUTPUT, "float32", [batch, job.classes])]
    actual = []
    for details in (runner.get_input_details(), runner.get_output_details()):
        for name, tensor in details.items():
            actual.append((name, tensor["dtype"].__name__, tensor["shape"].tolist()))
    if actual != expected:
        raise MlkdcError(f"the converted model has inputs and outputs {actual}, expected {expected}")
