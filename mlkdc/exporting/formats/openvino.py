"""OpenVINO's format: model.xml, the graph, and model.bin, its weights."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.errors import MlkdcError
from mlkdc.exporting.formats import EXPORTERS
from mlkdc.exporting.formats.onnx import onnx_graph
from mlkdc.exporting.job import Built, Job, Quantization
from mlkdc.exporting.naming import SEPARATOR
from mlkdc.runtime.backends.openvino import RT_INFO, load_openvino, reason
from mlkdc.runtime.quiet import quiet

FILES = ["model.xml", "model.bin"]
# What stays in floating point anywhere: LayerNorm, attention, gates; outside the backbone also sums and products
# without weights, which are the subtraction of the mean, what LayerNorms take, and the last product of the head.
FLOAT = ("MVN", "Softmax", "ScaledDotProductAttention", "Sigmoid")
FLOAT_OUTSIDE = ("Add", "Multiply", "ReduceSum")
# Calibration images at once: NNCF's work for each batch takes longer than the model's for an image.
BATCH = 8


@EXPORTERS.register("openvino")
def export_openvino(job: Job) -> Built:
    """Write ``model.xml`` and ``model.bin``; for fp16 the weights, and only they, are in half precision.

    Raises:
        MlkdcError: the model could not be exported, converted or quantized.
    """
    graph = onnx_graph(job)
    with quiet():
        try:
            model = _convert(graph)
            if job.quantization:
                model = _quantize(model, job.quantization, job.input_dtype)
            for key, value in job.metadata.items():
                model.set_rt_info(value, [RT_INFO, key])
            # Without this argument all weights would become half precision.
            load_openvino().save_model(model, job.folder / FILES[0], compress_to_fp16=job.precision == "fp16")
        except MlkdcError:
            raise
        except Exception as error:  # OpenVINO's and NNCF's exceptions share no base class but this one
            # Its first lines name places in OpenVINO's source: the last one is the reason.
            raise MlkdcError(
                f"OpenVINO could not convert the model ({reason(error)}); export to onnx instead"
            ) from error
    return Built(FILES)


def _convert(graph: Any) -> Any:
    """An OpenVINO model whose nodes are named after those of the ``ModelProto`` that they come from."""
    import onnx

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.onnx"
        onnx.save(graph, path)
        return load_openvino().convert_model(path)


def _quantize(model: Any, how: Quantization, dtype: str) -> Any:
    """A statically quantized copy of a model, made by NNCF.

    Half of the range for weights is for processors without VNNI, which add pairs of products in 16 bits, where the
    full range saturates and costs accuracy.
    Symmetric and asymmetric activations were equally fast and equally good.
    """
    import nncf
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        OverflowFix,
        QuantizationParameters,
    )
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    ranges = RangeEstimatorParametersSet.HISTOGRAM if how.clip else RangeEstimatorParametersSet.MINMAX
    shape, batches = model.input().partial_shape, _batches(model, how)
    quantized = nncf.quantize(
        model,
        nncf.Dataset(batches, lambda batch: batch.astype(dtype)),
        subset_size=len(batches),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        fast_bias_correction=True,
        ignored_scope=nncf.IgnoredScope(names=_in_float(model, how)),
        advanced_parameters=AdvancedQuantizationParameters(
            overflow_fix=OverflowFix.ENABLE if how.reduce_range else OverflowFix.DISABLE,
            disable_bias_correction=how.correct_biases,
            activations_range_estimator_params=ranges,
            weights_quantization_params=QuantizationParameters(per_channel=how.per_channel),
        ),
    )
    quantized.reshape(shape)
    return quantized


def _batches(model: Any, how: Quantization) -> np.ndarray:
    """``uint8[n, b, 3, s, s]``: all images, in batches that the model takes from here on."""
    size = how.part(BATCH)
    if model.input().partial_shape.is_static and not _takes(model, size):
        size = 1
    return how.images.reshape(-1, size, *how.images.shape[1:])


def _takes(model: Any, size: int) -> bool:
    """Let a model of one image take a batch of that size: whether it can, with each image by itself; else as it was.

    A batch is all images one behind the other wherever only the first dimension grows with it.
    """
    outputs = [output for node in model.get_ops() for output in node.outputs()]
    single, shape = [list(output.partial_shape)[1:] for output in outputs], model.input().partial_shape
    for node in model.get_ops():
        if node.get_type_name() == "Reshape":
            _free_batch(node)
    try:
        model.reshape([size, *list(shape)[1:]])
    except RuntimeError:  # a constant shape is left in it
        return False
    takes = [list(output.partial_shape)[1:] for output in outputs] == single
    if not takes:
        model.reshape(shape)
    return takes


def _free_batch(reshape: Any) -> None:
    """Let a reshape to the shape of one image give out as many as it is given: where that is one, the same."""
    from openvino import opset13

    wanted = reshape.input_value(1).get_node()
    sizes = wanted.get_data().tolist() if wanted.get_type_name() == "Constant" else []
    if sizes[:1] == [1] and -1 not in sizes:
        free = opset13.constant([-1, *sizes[1:]], np.int64, name=f"{reshape.get_friendly_name()}/shape")
        reshape.input(1).replace_source_output(free.output(0))


def _in_float(model: Any, how: Quantization) -> list[str]:
    """The names of the nodes that must not be quantized."""
    names = []
    for node in model.get_ops():
        name, kind = node.get_friendly_name(), node.get_type_name()
        # Operations that OpenVINO adds behind a node have longer names; the module comes before the first slash.
        module = name.partition(SEPARATOR)[0]
        outside = module.partition(".")[0] != "backbone"
        computed = kind == "MatMul" and node.input_value(1).get_node().get_type_name() != "Constant"
        if how.keeps(module) or computed or kind in FLOAT or (outside and kind in FLOAT_OUTSIDE):
            names.append(name)
    return names
