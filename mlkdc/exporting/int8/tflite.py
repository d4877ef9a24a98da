"""Static quantization of a .tflite file: int8 weights and activations, int32 biases."""

import os
import re
import warnings
from collections import defaultdict
from typing import Any

import numpy as np
from torch import nn

from mlkdc.errors import MlkdcError
from mlkdc.exporting.formats import Quantization

# BATCH_MATMUL is not among them: XNNPACK takes it in float only, in int8 it would split the graph.
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# Int8 between operators that are. Beside float ones they would round values once more for nothing; so softmax,
# LayerNorm, the product with one weight per label and the sigmoid stay in float, and no list has to name them.
BETWEEN = {"ADD", "AVERAGE_POOL_2D", "CONCATENATION", "MAX_POOL_2D", "MEAN", "PAD", "PADV2", "RELU", "RESHAPE"}
BETWEEN |= {"SLICE", "SPLIT", "STRIDED_SLICE", "TRANSPOSE"}
# Int8 before int8, whatever comes before them: they give more than they get, which is cheaper to round.
PADS = ("PAD", "PADV2")
BITS = 8
# Per cent of a picture's values that are left out at each end when ranges are clipped.
TAIL = 0.005


def quantize(content: bytes, model: nn.Module, how: Quantization, dtype: str) -> bytes:
    """A quantized copy of a float32 model with one NHWC picture as its input.

    Args:
        content: of the .tflite file that the torch model became.
        model: that torch model, which tells operators of one module from those of another.
        how: calibration pictures, ranges, and which modules are left alone.
        dtype: of the input.

    Raises:
        MlkdcError: a module to be left alone cannot be found in the file, or the quantizer gave up.
    """
    from ai_edge_quantizer import Quantizer
    from ai_edge_quantizer.qtyping import QuantGranularity, TFLOperationName

    graph = _Graph(content)
    chosen = graph.between(graph.weighted(model, how))
    quantizer = Quantizer(content)
    scopes = defaultdict(list)
    for index in sorted(chosen):
        scopes[graph.kinds[index]].append(re.escape(graph.scopes[index]))
    granularity = QuantGranularity.CHANNELWISE if how.per_channel else QuantGranularity.TENSORWISE
    for kind, names in scopes.items():
        pattern = f"^({'|'.join(names)})$"
        quantizer.add_static_config(pattern, TFLOperationName(kind), BITS, BITS, granularity)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the memory that keeping all tensors takes
        ranges = _ranges(content, how, dtype, graph.tensors_of(chosen))
        try:
            result = quantizer.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
        except (RuntimeError, ValueError) as error:
            raise MlkdcError(
                f"ai-edge-quantizer could not quantize the model ({error}); try another precision"
            ) from error
    assert result.quantized_model is not None
    return bytes(result.quantized_model)


class _Graph:
    """The operators of a .tflite file by index: what kind they are, and which of them may be int8."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_quantizer.utils import tfl_flatbuffer_utils as reader

        model = reader.read_model(content)
        graph = model.subgraphs[0]
        names = reader.TFL_OP_CODE_TO_NAME
        codes = [model.operatorCodes[each.opcodeIndex].builtinCode for each in graph.operators]
        self.kinds = [names[code].value if code in names else "" for code in codes]
        self.scopes = [reader.get_op_scope(each, graph.tensors) for each in graph.operators]
        self.names = [reader.get_tensor_name(each) for each in graph.tensors]
        constants = [reader.get_tensor_data(each, model.buffers) for each in graph.tensors]
        self.inputs = [[i for i in each.inputs if i >= 0 and constants[i] is None] for each in graph.operators]
        self.outputs = [list(each.outputs) for each in graph.operators]
        second = {i: each.inputs[1] for i, each in enumerate(graph.operators) if self.kinds[i] in WEIGHTED}
        self.weights = {i: constants[tensor] for i, tensor in second.items() if constants[tensor] is not None}

    def weighted(self, model: nn.Module, how: Quantization) -> set[int]:
        """Operators with weights, but for those of modules that are left alone.

        An operator is named after the last of the modules that were fused into it; its weights tell the first. Where
        the converter multiplied something into them (a LayerNorm's gain), it is one of those that no module has, of
        as many weights.

        Raises:
            MlkdcError: a module that is left alone has weights that no operator has.
        """
        modules = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
        prints = {name: _fingerprint(module.weight.detach().numpy()) for name, module in modules.items()}
        found = {i: _fingerprint(weight) for i, weight in self.weights.items()}
        strangers = {i: self.weights[i].size for i in set(found) if found[i] not in prints.values()}
        alone: set[int] = set()
        for name in filter(how.keeps, modules):
            same = {i for i, each in found.items() if each == prints[name]}
            same = same or {i for i, size in strangers.items() if size == modules[name].weight.numel()}
            if not same:
                raise MlkdcError(f"{name} cannot be left in floating point: no operator has its weights; name another")
            alone |= same
        return set(found) - alone

    def between(self, weighted: set[int]) -> set[int]:
        """These, and the operators between them."""
        chosen = weighted | {i for i, kind in enumerate(self.kinds) if kind in BETWEEN}
        while True:
            given = {tensor for i in chosen for tensor in self.outputs[i]}
            taken = {tensor for i in chosen for tensor in self.inputs[i]}
            before = {i for i in chosen if self.kinds[i] in PADS or given.issuperset(self.inputs[i])}
            kept = weighted | {i for i in before if taken.intersection(self.outputs[i])}
            if kept == chosen:
                return chosen
            chosen = kept

    def tensors_of(self, chosen: set[int]) -> dict[int, str]:
        """Index and name of what flows into and out of these operators."""
        return {tensor: self.names[tensor] for i in chosen for tensor in (*self.inputs[i], *self.outputs[i])}


def _fingerprint(weight: np.ndarray) -> bytes:
    """The same for any order of the axes."""
    return np.sort(weight.ravel()).tobytes()


def _ranges(content: bytes, how: Quantization, dtype: str, tensors: dict[int, str]) -> dict[str, Any]:
    """Smallest and largest value of each tensor over the calibration pictures, as the quantizer takes them."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=os.cpu_count(), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    first = interpreter.get_input_details()[0]["index"]
    seen = []
    for image in how.images:
        interpreter.set_tensor(first, image.transpose(1, 2, 0)[None].astype(dtype))
        interpreter.invoke()
        seen.append([_range(interpreter.get_tensor(index), how.clip) for index in tensors])
    low, high = np.moveaxis(np.array(seen, dtype=np.float32), -1, 0)
    low, high = (low.mean(axis=0), high.mean(axis=0)) if how.clip else (low.min(axis=0), high.max(axis=0))
    return {
        name: {"min": low[position : position + 1], "max": high[position : position + 1]}
        for position, name in enumerate(tensors.values())
    }


def _range(values: np.ndarray, clip: bool) -> tuple[float, float]:
    if not np.isfinite(values.min()):  # a max pooling's border
        values = values[np.isfinite(values)]
    return tuple(np.percentile(values, [TAIL, 100 - TAIL])) if clip else (values.min(), values.max())
