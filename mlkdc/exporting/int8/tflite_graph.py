"""Which operators of a .tflite file are to be int8."""

import numpy as np
from torch import nn

from mlkdc.errors import MlkdcError
from mlkdc.exporting.int8.layers import layers_of
from mlkdc.exporting.job import Quantization

# BATCH_MATMUL is not among them: XNNPACK takes it in float only, in int8 it would split the graph.
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
# Int8 between operators that are. Next to float ones they would round values once more for nothing; so softmax,
# LayerNorm, the product with one weight per label and the sigmoid stay in float, and no list has to name them.
BETWEEN = {
    "ADD",
    "AVERAGE_POOL_2D",
    "CONCATENATION",
    "MAX_POOL_2D",
    "MEAN",
    "PAD",
    "PADV2",
    "RELU",
    "RESHAPE",
    "SLICE",
    "SPLIT",
    "STRIDED_SLICE",
    "TRANSPOSE",
}
# Int8 before int8, whatever comes before them: they give more than they get, which is cheaper to round.
PADS = ("PAD", "PADV2")


class Graph:
    """The operators of a .tflite file by index.

    Attributes:
        kinds: of each operator, ``CONV_2D``; empty for one that the quantizer does not know.
        scopes: of each operator, the name that the quantizer knows it by.
        inputs, outputs: of each operator, indices of tensors; constants are no inputs.
        names: of each tensor.
        weights: of the operators with weights, by the operator's index.
    """

    def __init__(self, content: bytes) -> None:
        from ai_edge_quantizer.utils import tfl_flatbuffer_utils as reader

        model = reader.read_model(content)
        graph = model.subgraphs[0]
        kinds = reader.TFL_OP_CODE_TO_NAME
        constants = [reader.get_tensor_data(tensor, model.buffers) for tensor in graph.tensors]
        self.names: list[str] = [reader.get_tensor_name(tensor) for tensor in graph.tensors]
        self.kinds: list[str] = []
        self.scopes: list[str] = []
        self.inputs: list[list[int]] = []
        self.outputs: list[list[int]] = []
        self.weights: dict[int, np.ndarray] = {}
        for index, operator in enumerate(graph.operators):
            kind = kinds.get(model.operatorCodes[operator.opcodeIndex].builtinCode)
            self.kinds.append(kind.value if kind is not None else "")
            self.scopes.append(reader.get_op_scope(operator, graph.tensors))
            # -1 stands for an optional input that is not given.
            self.inputs.append([tensor for tensor in operator.inputs if tensor >= 0 and constants[tensor] is None])
            self.outputs.append(list(operator.outputs))
            if self.kinds[index] in WEIGHTED and constants[operator.inputs[1]] is not None:
                self.weights[index] = constants[operator.inputs[1]]

    def weighted(self, model: nn.Module, how: Quantization) -> set[int]:
        """Operators with weights, but for those of modules that stay in floating point.

        Raises:
            MlkdcError: a module that stays in floating point has weights that no operator has.
        """
        in_float: set[int] = set()
        for name, operators in self._by_module(model).items():
            if how.keeps(name):
                if not operators:
                    raise MlkdcError(
                        f"{name} cannot stay in floating point: no operator has its weights; name another module"
                    )
                in_float |= operators
        return set(self.weights) - in_float

    def _by_module(self, model: nn.Module) -> dict[str, set[int]]:
        """The operators that each convolution and linear layer of the torch model may have become.

        An operator is named after the last of the modules that were fused into it; only its weights say which was the
        first. Where the converter multiplied something into them (a LayerNorm's gain), it is one of those whose weights
        no module has, and which has as many.
        """
        layers = layers_of(model)
        prints = {name: _fingerprint(layer.weight.detach().numpy()) for name, layer in layers.items()}
        unchanged = set(prints.values())
        operators: dict[bytes, set[int]] = {}
        changed: dict[int, set[int]] = {}
        for index, weight in self.weights.items():
            fingerprint = _fingerprint(weight)
            operators.setdefault(fingerprint, set()).add(index)
            if fingerprint not in unchanged:
                changed.setdefault(weight.size, set()).add(index)
        by_module = {}
        for name, layer in layers.items():
            by_module[name] = operators.get(prints[name]) or changed.get(layer.weight.numel(), set())
        return by_module

    def between(self, weighted: set[int]) -> set[int]:
        """These, and the operators between them."""
        chosen = set(weighted)
        for index, kind in enumerate(self.kinds):
            if kind in BETWEEN:
                chosen.add(index)
        # Each round drops those at the edge, which makes a new edge.
        while True:
            produced = _flat(self.outputs, chosen)
            consumed = _flat(self.inputs, chosen)
            inner = set(weighted)
            for index in chosen:
                from_chosen = self.kinds[index] in PADS or produced.issuperset(self.inputs[index])
                if from_chosen and not consumed.isdisjoint(self.outputs[index]):
                    inner.add(index)
            if inner == chosen:
                return chosen
            chosen = inner

    def tensors_of(self, chosen: set[int]) -> dict[int, str]:
        """Index and name of what flows into and out of these operators."""
        tensors = {}
        for index in chosen:
            for tensor in (*self.inputs[index], *self.outputs[index]):
                tensors[tensor] = self.names[tensor]
        return tensors


def _flat(tensors: list[list[int]], operators: set[int]) -> set[int]:
    """The tensors of some operators together."""
    together: set[int] = set()
    for index in operators:
        together.update(tensors[index])
    return together


def _fingerprint(weight: np.ndarray) -> bytes:
    """The same for any order of the axes."""
    return np.sort(weight.ravel()).tobytes()
