"""An ONNX graph in half precision, with float32 where half would cost answers."""

from collections import Counter
from typing import Any

import numpy as np

from mlkdc.errors import MlkdcError

# What is done to the pixels: 123.675 has no close neighbor in half precision.
_PIXELS = ("Cast", "Sub", "Mul", "Transpose")
# What is done to the logits: one product and one sum per label, which cost nothing, and the sigmoid.
_LOGITS = ("Sigmoid", "Add", "Mul", "ReduceSum", "Squeeze", "Reshape")
_SCALED = ("QuantizeLinear", "DequantizeLinear")
#: Before, the scales of quantized tensors had to be float32.
LEAST_OPSET = 19
_SMALLEST = float(np.finfo(np.float16).smallest_subnormal)


def to_half(graph: Any) -> Any:
    """A copy of a float32 graph in float16; its inputs and outputs keep their types.

    Float32 remain the arithmetic on the pixels before the first layer and that on the logits after the last one.
    Everything else is half: its weights, what flows through it, and the scales of quantized tensors, so that a
    runtime that takes each operator's precision from its types computes there what is not int8 in half.

    Args:
        graph: ``ModelProto`` of ``LEAST_OPSET`` or later where it has scales, in topological order, its nodes named.

    Raises:
        MlkdcError: a weight does not fit into half precision.
    """
    import onnx

    result = onnx.shape_inference.infer_shapes(graph, strict_mode=True, data_prop=True)
    _Conversion(result.graph).run()
    return result


class _Conversion:
    """Rewrites one graph in place.

    Attributes:
        types: which of the two floating-point types each floating-point tensor has by now.
        converted: by a tensor's name: the name of the same in the other type.
        nodes: of the new graph, so far.
    """

    def __init__(self, graph: Any) -> None:
        import onnx

        self.graph = graph
        self.float, self.half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
        self.weights = {weight.name: weight for weight in graph.initializer}
        self.types: dict[str, int] = {}
        for value in (*graph.input, *graph.value_info, *graph.output):
            if value.type.tensor_type.elem_type == self.float:
                self.types[value.name] = self.float
        for name, weight in self.weights.items():
            if weight.data_type == self.float:
                self.types[name] = self.float
        self.scales = {node.input[1] for node in graph.node if node.op_type in _SCALED}
        self.converted: dict[str, str] = {}
        self.nodes: list[Any] = []

    def run(self) -> None:
        in_float = _on_pixels(self.graph) | _on_logits(self.graph)
        for node in self.graph.node:
            kind = self.half
            if node.name in in_float or node.op_type == "Constant":
                kind = self.float
            self._convert(node, kind)
        # The types of what flows between nodes were those of float32.
        del self.graph.value_info[:]
        _refill(self.graph.node, self.nodes)
        used: set[str] = set()
        for node in self.nodes:
            used.update(node.input)
        _refill(self.graph.initializer, [weight for weight in self.graph.initializer if weight.name in used])

    def _convert(self, node: Any, kind: int) -> None:
        """Append the node to the new graph, computing in the given type."""
        node.input[:] = [self._as(kind, name) for name in node.input]
        for name in node.output:
            if name in self.types:
                self.types[name] = kind
        if node.op_type == "Cast":
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == self.float:
                    attribute.i = kind
        self.nodes.append(node)

    def _as(self, kind: int, name: str) -> str:
        """The name of a tensor in the given floating-point type; a weight is converted, anything else is cast."""
        if self.types.get(name, kind) == kind:
            return name
        if name not in self.converted:
            suffix = "half" if kind == self.half else "float"
            self.converted[name] = f"{name}/{suffix}"
            self._add(name, self.converted[name], kind)
        return self.converted[name]

    def _add(self, name: str, result: str, kind: int) -> None:
        if name not in self.weights:
            self.nodes.append(_cast(name, result, kind))
            return
        least = -np.inf
        if name in self.scales:
            # A scale of zero, as of a channel that training has shut, is refused.
            least = _SMALLEST
        self.graph.initializer.append(_half(self.weights[name], result, least))


def _refill(repeated: Any, items: list[Any]) -> None:
    """Replace all items of a graph's list."""
    del repeated[:]
    repeated.extend(items)


def _cast(name: str, result: str, kind: int) -> Any:
    import onnx

    return onnx.helper.make_node("Cast", [name], [result], name=f"{result}/cast", to=kind)


def _half(weight: Any, name: str, least: float) -> Any:
    import onnx

    values = onnx.numpy_helper.to_array(weight)
    with np.errstate(over="ignore"):
        halved = np.maximum(values.astype(np.float16), least).astype(np.float16)
    if not np.isfinite(halved).all():
        largest = float(np.abs(values).max())
        raise MlkdcError(f"{weight.name} holds {largest:.3g}, and half precision ends at 65504; use fp32")
    return onnx.numpy_helper.from_array(halved, name)


def _on_pixels(graph: Any) -> set[str]:
    """Names of the nodes between the input and the first layer."""
    available = {value.name for value in (*graph.input, *graph.initializer)}
    nodes = set()
    for node in graph.node:
        if node.op_type in _PIXELS and available.issuperset(node.input):
            nodes.add(node.name)
            available.update(node.output)
    return nodes


def _on_logits(graph: Any) -> set[str]:
    """Names of the nodes between the last layer and the output."""
    leading_out = {value.name for value in graph.output}
    users: Counter[str] = Counter()
    for node in graph.node:
        users.update(node.input)
    nodes = set()
    for node in reversed(graph.node):
        if node.op_type in _LOGITS and leading_out.issuperset(node.output):
            nodes.add(node.name)
            for name in node.input:
                # What something else uses too is not only on its way to the output.
                if users[name] == 1:
                    leading_out.add(name)
    return nodes
