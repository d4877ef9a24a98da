"""Core ML: an ML program in half precision, as a package for macOS and iOS."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mlkdc.errors import MlkdcError
from mlkdc.exporting.formats import EXPORTERS
from mlkdc.exporting.job import INPUT, OUTPUT, Built, Job
from mlkdc.exporting.merging.model import for_half
from mlkdc.records.manifest import RuntimeDetails
from mlkdc.runtime.backends.coreml import SUFFIX, signature
from mlkdc.runtime.quiet import quiet

PACKAGE = f"model{SUFFIX}"
# The first that has ML programs.
NEEDS = "macOS 12, iOS 15, tvOS 15 or watchOS 8, or later"
# What is done to the pixels and to the logits, and stays in float32. Both are a few operations per pixel or label, and
# Core ML casts there between the float32 of its callers and the half precision of the Neural Engine anyway.
_PIXELS = {"sub", "mul"}
_LOGITS = {"add", "mul", "reduce_sum", "squeeze", "sigmoid"}


@EXPORTERS.register("coreml")
def export_coreml(job: Job) -> Built:
    """Write ``model.mlpackage``, a folder: the program and its weights in float16.

    Raises:
        MlkdcError: the program has other inputs or outputs than the job's.
    """
    job = replace(job, model=for_half(job.model, job.input_shape))
    package = job.folder / PACKAGE
    with quiet():
        model = _convert(job)
        for key, value in job.metadata.items():
            model.user_defined_metadata[key] = value
        model.save(str(package))
    # A list of what came from which line of torch, as large as the program; nothing reads it.
    (package / "executorch_debug_handle_mapping.json").unlink(missing_ok=True)
    expected = [(INPUT, "float32", list(job.input_shape)), (OUTPUT, "float32", [1, job.classes])]
    actual = signature(model.get_spec())
    if actual != expected:
        raise MlkdcError(f"the Core ML model has inputs and outputs {actual}, expected {expected}")
    files = sorted(path.relative_to(job.folder).as_posix() for path in package.rglob("*") if path.is_file())
    return Built(files, RuntimeDetails(needs=NEEDS))


def _convert(job: Job) -> Any:
    import coremltools as ct

    # Decomposed to torch's core operators, the only ones that coremltools knows.
    program = torch.export.export(job.model, (torch.zeros(job.input_shape),)).run_decompositions({})
    return ct.convert(
        program,
        convert_to="mlprogram",
        inputs=[ct.TensorType(INPUT, shape=job.input_shape, dtype=np.float32)],
        outputs=[ct.TensorType(OUTPUT, dtype=np.float32)],
        compute_precision=ct.transform.FP16ComputePrecision(op_selector=_in_half),
        minimum_deployment_target=ct.target.iOS15,
        skip_model_load=True,
    )


def _in_half(op: Any) -> bool:
    return not (_on_pixels(op) or _on_logits(op))


def _on_pixels(op: Any) -> bool:
    """Whether the operation comes before the first layer."""
    if op.op_type not in _PIXELS:
        return False
    for name in ("x", "y"):
        maker = op.inputs[name].op  # None: it is the program's input
        if maker is not None and maker.op_type != "const" and not _on_pixels(maker):
            return False
    return True


def _on_logits(op: Any) -> bool:
    """Whether the operation comes after the last layer: all that is done with its output comes after it too."""
    if op.op_type not in _LOGITS:
        return False
    value = op.outputs[0]
    is_output = value in op.enclosing_block.outputs
    if not is_output and not value.child_ops:
        return False
    return all(map(_on_logits, value.child_ops))
