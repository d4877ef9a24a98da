"""Static quantization of an ONNX graph with explicit QuantizeLinear/DequantizeLinear pairs."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mlkdc.exporting.formats import INPUT, Quantization
from mlkdc.exporting.formats.onnx import module_of
from mlkdc.runtime.quiet import quiet

# What is fast in int8 and not hurt by it. Softmax, LayerNorm, the last product with one weight per label and the
# sigmoid stay in float: they are small, and their answers are the model's.
OPERATORS = ["Conv", "MatMul", "Gemm", "Add", "Concat", "Clip", "Relu", "MaxPool", "GlobalAveragePool", "Split"]
# What TensorRT wants scales for: the inputs of products. It fuses what follows a product with it, up to where the next
# one begins: a scale in between is one more rounding, and one fusion less.
PRODUCTS = ["Conv", "MatMul", "Gemm"]
PERCENTILE = 99.99
# Pictures whose activations are held at a time while their histograms are made: 13 GiB would be those of 256 pictures
# of MobileNetV2 at 224 px.
AT_ONCE = 8


def quantize(graph: Any, how: Quantization, dtype: str, *, symmetric: bool = False) -> Any:
    """A quantized copy of a graph of :func:`~mlkdc.exporting.formats.onnx.onnx_graph`.

    Args:
        graph: float32 ``ModelProto`` with a batch of 1 or any.
        how: calibration pictures, ranges, and which modules are left alone.
        dtype: of the graph's input.
        symmetric: as TensorRT reads it: activations in signed int8 around zero, biases in float32, scales at the inputs
            of products with weights only.

    Returns:
        A ``ModelProto``.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    excluded = [node.name for node in graph.graph.node if how.keeps(module_of(node.name))]
    operators = PRODUCTS if symmetric else OPERATORS
    if symmetric:
        excluded += _weightless(graph)
    with tempfile.TemporaryDirectory() as name, quiet():
        # Given as files: a graph given in memory would have its weights moved out of it.
        source, path = Path(name) / "float.onnx", Path(name) / "int8.onnx"
        onnx.save(graph, source)
        quantize_static(
            source,
            path,
            _Reader(how.images, dtype),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=operators,
            nodes_to_exclude=excluded,
            per_channel=how.per_channel,
            reduce_range=how.reduce_range,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.Percentile if how.clip else CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": symmetric,
                "WeightSymmetric": True,
                "QuantizeBias": not symmetric,
                "CalibPercentile": PERCENTILE,
                "CalibStridedMinMax": _divisor(len(how.images)),  # of any method, whatever its name says
                "OpTypesToExcludeOutputQuantization": operators if symmetric else [],
            },
        )
        return onnx.load(path)


def _weightless(graph: Any) -> list[str]:
    """Names of the products of two activations: small, and one fused operation with the softmax between them."""
    weights = {each.name for each in graph.graph.initializer}
    return [node.name for node in graph.graph.node if node.op_type == "MatMul" and weights.isdisjoint(node.input)]


def _divisor(count: int) -> int:
    """The largest part of at most AT_ONCE that divides the number of pictures: ONNX Runtime takes no other."""
    return next(part for part in range(AT_ONCE, 0, -1) if count % part == 0)


class _Reader:
    """Calibration pictures one by one, as ONNX Runtime asks for them, a part at a time."""

    def __init__(self, images: np.ndarray, dtype: str) -> None:
        self._images, self._dtype = images, dtype
        self.set_range(0, len(images))

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        """From now on give these pictures only."""
        self._left = iter(range(start_index, end_index))

    def get_next(self) -> dict[str, np.ndarray] | None:
        index = next(self._left, None)
        return None if index is None else {INPUT: self._images[index : index + 1].astype(self._dtype)}
