"""Static quantization of an ONNX graph with explicit QuantizeLinear/DequantizeLinear pairs."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.exporting.job import INPUT, Quantization
from mlkdc.exporting.naming import module_of
from mlkdc.runtime.quiet import quiet

# What is fast in int8 and not hurt by it. Softmax, LayerNorm, the last product with one weight per label and the
# sigmoid stay in float: they are small, and their answers are the model's.
OPERATORS = ["Conv", "MatMul", "Gemm", "Add", "Concat", "Clip", "Relu", "MaxPool", "GlobalAveragePool", "Split"]
# What TensorRT expects scales for: the inputs of products. It fuses what follows a product with it, up to where the
# next one begins: a scale in between is one more rounding, and one fusion less.
PRODUCTS = ["Conv", "MatMul", "Gemm"]
PERCENTILE = 99.99
# Images whose activations are held at a time while their histograms are made: 13 GiB would be those of 256 images
# of MobileNetV2 at 224 px.
AT_ONCE = 8


def quantize(graph: Any, how: Quantization, dtype: str, *, symmetric: bool = False) -> Any:
    """A quantized copy of a graph of :func:`~mlkdc.exporting.formats.onnx.onnx_graph`.

    Args:
        graph: float32 ``ModelProto`` with a batch of 1 or any, its nodes named by :mod:`mlkdc.exporting.naming`.
        how: calibration images, ranges, and which modules stay in floating point.
        dtype: of the graph's input.
        symmetric: as TensorRT reads it: activations in signed int8 around zero, biases in float32, scales at the inputs
            of products with weights only.

    Returns:
        A ``ModelProto``.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory() as name, quiet():
        # Given as files: a graph given in memory would have its weights moved out of it.
        source, path = Path(name) / "float.onnx", Path(name) / "int8.onnx"
        onnx.save(graph, source)
        quantize_static(
            source,
            path,
            _Reader(how.images, dtype),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=PRODUCTS if symmetric else OPERATORS,
            nodes_to_exclude=_excluded(graph, how, symmetric),
            per_channel=how.per_channel,
            reduce_range=how.reduce_range,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile if how.clip else CalibrationMethod.MinMax,
            extra_options=_extra_options(how, symmetric),
        )
        return onnx.load(path)


def _extra_options(how: Quantization, symmetric: bool) -> dict[str, object]:
    """By ONNX Runtime's names."""
    unscaled_outputs = PRODUCTS if symmetric else []
    return {
        "ActivationSymmetric": symmetric,
        "WeightSymmetric": True,
        "QuantizeBias": not symmetric,
        "CalibPercentile": PERCENTILE,
        "CalibStridedMinMax": how.part(AT_ONCE),  # of any method, whatever its name says
        "OpTypesToExcludeOutputQuantization": unscaled_outputs,
    }


def _excluded(graph: Any, how: Quantization, symmetric: bool) -> list[str]:
    """Names of the nodes that stay in floating point."""
    weights = {weight.name for weight in graph.graph.initializer}
    names = []
    for node in graph.graph.node:
        # A product of two activations is small, and one fused operation with the softmax between two of them.
        weightless = node.op_type == "MatMul" and weights.isdisjoint(node.input)
        # A sum of the head is what a LayerNorm takes, which is in float anyway, or the answer.
        sum_of_head = node.op_type == "Add" and module_of(node.name).partition(".")[0] == "head"
        if how.keeps(module_of(node.name)) or (symmetric and weightless) or sum_of_head:
            names.append(node.name)
    return names


class _Reader:
    """Calibration images one by one, as ONNX Runtime asks for them, a part at a time."""

    def __init__(self, images: np.ndarray, dtype: str) -> None:
        self._images, self._dtype = images, dtype
        self.set_range(0, len(images))

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        """From now on give these images only."""
        self._next, self._end = start_index, end_index

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next one by the name of the input; None after the last."""
        if self._next == self._end:
            return None
        image = self._images[self._next : self._next + 1]
        self._next += 1
        return {INPUT: image.astype(self._dtype)}
