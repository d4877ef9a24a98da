"""Static quantization of a .tflite file: int8 weights and activations, int32 biases."""

import os
import re
import warnings
from collections import defaultdict
from typing import Any

import numpy as np
from torch import nn

from mlkdc.exporting.int8.tflite_graph import Graph
from mlkdc.exporting.job import Quantization

BITS = 8
# Per cent of an image's values that are dropped at each end when ranges are clipped.
TAIL = 0.005


def quantize(content: bytes, model: nn.Module, how: Quantization, dtype: str) -> bytes:
    """A quantized copy of a float32 model with one NHWC image as its input.

    Args:
        content: of the .tflite file that the torch model became.
        model: that torch model, whose weights say which operator came from which module.
        how: calibration images, ranges, and which modules stay in floating point.
        dtype: of the input.

    Raises:
        MlkdcError: a module that is to stay in floating point cannot be found in the file.
    """
    from ai_edge_quantizer import Quantizer
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName

    graph = Graph(content)
    chosen = graph.between(graph.weighted(model, how))
    granularity = QuantGranularity.TENSORWISE
    if how.per_channel:
        granularity = QuantGranularity.CHANNELWISE
    quantizer = Quantizer(content)
    for kind, pattern in _patterns(graph, chosen).items():
        quantizer.add_static_config(pattern, TFLOperationName(kind), BITS, BITS, granularity)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the memory that keeping all tensors takes
        ranges = _ranges(content, how, dtype, graph.tensors_of(chosen))
        result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    assert result.quantized_model is not None
    return bytes(result.quantized_model)


def _patterns(graph: Graph, chosen: set[int]) -> dict[str, str]:
    """By kind of operator: a regular expression that the names of the chosen ones, and no others, match."""
    scopes = defaultdict(list)
    for index in sorted(chosen):
        scopes[graph.kinds[index]].append(re.escape(graph.scopes[index]))
    return {kind: f"^({'|'.join(names)})$" for kind, names in scopes.items()}


def _ranges(content: bytes, how: Quantization, dtype: str, tensors: dict[int, str]) -> dict[str, dict[str, np.ndarray]]:
    """Smallest and largest value of each tensor over the calibration images, as the quantizer takes them."""
    low, high = _extremes(content, how, dtype, list(tensors))
    if how.clip:
        low, high = low.mean(axis=0), high.mean(axis=0)
    else:
        low, high = low.min(axis=0), high.max(axis=0)
    ranges = {}
    for position, name in enumerate(tensors.values()):
        ranges[name] = {"min": low[position : position + 1], "max": high[position : position + 1]}
    return ranges


def _extremes(content: bytes, how: Quantization, dtype: str, tensors: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """For each calibration image the least and the greatest value of each tensor: ``float32[images, tensors]``."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=os.cpu_count(), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    (image_input,) = interpreter.get_input_details()
    low = np.empty((len(how.images), len(tensors)), dtype=np.float32)
    high = np.empty_like(low)
    for row, image in enumerate(how.images):
        interpreter.set_tensor(image_input["index"], image.transpose(1, 2, 0)[None].astype(dtype))
        interpreter.invoke()
        for column, index in enumerate(tensors):
            low[row, column], high[row, column] = _extent(interpreter.get_tensor(index), how.clip)
    return low, high


def _extent(values: np.ndarray, clip: bool) -> tuple[Any, Any]:
    """Least and greatest value; clipped: with a tail dropped at each end."""
    if not np.isfinite(values.min()):  # a max pooling's border
        values = values[np.isfinite(values)]
    if clip:
        low, high = np.percentile(values, [TAIL, 100 - TAIL])
        return low, high
    return values.min(), values.max()
