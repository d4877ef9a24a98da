"""An ONNX graph in half precision, with float32 where half would cost answers."""

from collections import Counter
from typing import Any

import numpy as np

from mlkdc.errors import MlkdcError

# What is done to the pixels: 123.675 has no close neighbor in half precision.
_PIXELS = ("Cast", "Sub", "Mul", "Transpose")
# What is done to the logits: one product and one sum per label, which cost nothing, and the sigmoid.
_LOGITS = ("Sigmoid", "Add", "Mul", "ReduceSum", "Squeeze", "Reshape")
_SMALLEST = float(np.finfo(np.float16).smallest_subnormal)


def to_half(graph: Any) -> Any:
    """A copy of a float32 graph in float16; its inputs and outputs keep their types.

    Float32 remain the arithmetic on the pixels before the first layer and that on the logits after the last one.
    Everything else is half: its weights, what flows through it, and the scales of quantized tensors, so that a
    runtime that takes each operator's precision from its types computes there what is not int8 in half.

    Args:
        graph: ``ModelProto`` of opset 19 or later, in topological order, its nodes named.

    Raises:
        MlkdcError: a weight does not fit into half precision.
    """
    import onnx

    result = onnx.shape_inference.infer_shapes(graph, strict_mode=True, data_prop=True)
    _Conversion(result.graph).run()
    return result


class _Conversion:
    """Rewrites one graph in place: ``have`` is the type that each floating-point tensor has by now."""

    def __init__(self, graph: Any) -> None:
        import onnx

        self.graph = graph
        self.float, self.half = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
        self.weights = {each.name: each for each in graph.initializer}
        values = [*graph.input, *graph.value_info, *graph.output]
        types = {each.name: each.type.tensor_type.elem_type for each in values}
        types |= {name: each.data_type for name, each in self.weights.items()}
        self.have = {name: kind for name, kind in types.items() if kind == self.float}
        self.scales = {node.input[1] for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
        self.made: dict[str, str] = {}

    def run(self) -> None:
        kept = _pixels(self.graph) | _logits(self.graph)
        nodes, self.nodes = list(self.graph.node), []
        for node in nodes:
            kind = self.float if node.name in kept or node.op_type == "Constant" else self.half
            node.input[:] = [self._as(kind, name) for name in node.input]
            self.have |= {name: kind for name in node.output if name in self.have}
            for each in node.attribute:
                if node.op_type == "Cast" and each.name == "to" and each.i == self.float:
                    each.i = kind
            self.nodes.append(node)
        del self.graph.node[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input}
        weights = [each for each in self.graph.initializer if each.name in used]
        del self.graph.initializer[:]
        self.graph.initializer.extend(weights)

    def _as(self, kind: int, name: str) -> str:
        """The name of a tensor in the given floating-point type; a weight is converted, anything else is cast."""
        if self.have.get(name, kind) == kind:
            return name
        if name not in self.made:
            self.made[name] = f"{name}/{'half' if kind == self.half else 'float'}"
            if name in self.weights:
                # A scale of zero, as of a channel that training has shut, is refused.
                least = _SMALLEST if name in self.scales else None
                self.graph.initializer.append(_half(self.weights[name], self.made[name], least))
            else:
                self.nodes.append(_cast(name, self.made[name], kind))
        return self.made[name]


def _cast(name: str, result: str, kind: int) -> Any:
    import onnx

    return onnx.helper.make_node("Cast", [name], [result], name=f"{result}/cast", to=kind)


def _half(weight: Any, name: str, least: float | None) -> Any:
    import onnx

    values = onnx.numpy_helper.to_array(weight)
    with np.errstate(over="ignore"):
        halved = np.maximum(values.astype(np.float16), -np.inf if least is None else least).astype(np.float16)
    if not np.isfinite(halved).all():
        largest = float(np.abs(values).max())
        raise MlkdcError(f"{weight.name} holds {largest:.3g}, and half precision ends at 65504; use fp32")
    return onnx.numpy_helper.from_array(halved, name)


def _pixels(graph: Any) -> set[str]:
    """Names of the nodes between the input and the first layer."""
    known = {each.name for each in (*graph.input, *graph.initializer)}
    kept = set()
    for node in graph.node:
        if node.op_type in _PIXELS and known.issuperset(node.input):
            kept.add(node.name)
            known.update(node.output)
    return kept


def _logits(graph: Any) -> set[str]:
    """Names of the nodes between the last layer and the output."""
    known = {each.name for each in graph.output}
    kept = set()
    users = Counter(name for node in graph.node for name in node.input)
    for node in reversed(graph.node):
        if node.op_type in _LOGITS and known.issuperset(node.output):
            kept.add(node.name)
            # What something else uses too is not only on its way to the output.
            known.update(name for name in node.input if users[name] == 1)
    return kept
