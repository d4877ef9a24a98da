"""Static quantization of an exported torch program for XNNPACK: int8 weights and activations (PT2E)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch.fx import GraphModule, Node

from mlkdc.exporting.job import Quantization

_aten = torch.ops.aten
_LAYERS = (_aten.conv2d.default, _aten.linear.default)
_CLAMPS = (_aten.hardtanh.default, _aten.hardtanh_.default)
# In the head these stay in float: a LayerNorm, which is in float anyway, follows the sums, and the product with
# one weight per label is the answer.
_FLOAT_IN_HEAD = (_aten.add.Tensor, _aten.mul.Tensor)

# Calibration images at once: to watch every layer takes as long for a few as for one.
BATCH = 8

Chooses = Callable[[Node], bool]


def quantize(program: torch.export.ExportedProgram, how: Quantization, dtype: str) -> GraphModule:
    """The program's module with quantization and its inverse around what XNNPACK is to compute in int8.

    Args:
        program: of one NCHW image, or of any number.
        how: calibration images, ranges, and which modules stay in floating point.
        dtype: of its input.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    observed = prepare_pt2e(program.module(), _quantizer(how))
    size = BATCH if takes_batches(program) else 1
    with torch.no_grad():
        for start in range(0, len(how.images), size):
            observed(torch.from_numpy(how.images[start : start + size].astype(dtype)))
    quantized: GraphModule = convert_pt2e(observed)
    return quantized


def takes_batches(program: torch.export.ExportedProgram) -> bool:
    """Whether a program takes any number of images, whose sizes are constants."""
    return bool(program.range_constraints)


def _quantizer(how: Quantization) -> Any:
    """XNNPACK's quantizer, restricted to the nodes that may be quantized."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import XNNPACKQuantizer

    config, chosen = _config(how), _chooser(how)

    class WithClamps(XNNPACKQuantizer):  # type: ignore[misc]  # the package has no types
        """It fuses ReLU and not ReLU6, whose input it would quantize with a range that is clamped right after."""

        # Those of quantization-aware training have a batch normalization, which is folded long before: looking for
        # them takes seconds.
        SUPPORTED_PATTERNS = tuple(pattern for pattern in XNNPACKQuantizer.SUPPORTED_PATTERNS if not pattern.is_qat)

        def annotate(self, model: GraphModule) -> GraphModule:
            for clamp in model.graph.nodes:
                layer = _clamped_layer(clamp)
                if layer is not None and chosen(layer) and chosen(clamp):
                    _annotate(layer, clamp, config)
            annotated: GraphModule = super().annotate(model)
            return annotated

    return WithClamps().set_global(config).set_filter_function(chosen)


def _config(how: Quantization) -> Any:
    """How weights and activations are rounded and their ranges estimated."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import get_symmetric_quantization_config
    from torchao.quantization.pt2e import MinMaxObserver

    config = get_symmetric_quantization_config(is_per_channel=how.per_channel)
    if how.clip:
        return config  # its choice is a histogram, of which the range with the least error is taken
    activation = replace(config.input_activation, observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=2**-12))
    return replace(config, input_activation=activation, output_activation=activation)


def _chooser(how: Quantization) -> Chooses:
    """Whether a node may be quantized."""

    def chosen(node: Node) -> bool:
        module = ""
        stack = list(node.meta.get("nn_module_stack", {}).values())
        if stack:
            module, _ = stack[-1]
        in_head = module.partition(".")[0] == "head"
        return not how.keeps(module) and not (in_head and node.target in _FLOAT_IN_HEAD)

    return chosen


def _clamped_layer(node: Node) -> Node | None:
    """The layer whose output this node, and nothing else, takes, if the node clamps it as ReLU6 does."""
    if node.target not in _CLAMPS:
        return None
    layer = node.args[0]
    if isinstance(layer, Node) and layer.target in _LAYERS and len(layer.users) == 1:
        return layer
    return None


def _annotate(layer: Node, clamp: Node, config: Any) -> None:
    """One int8 operator of a layer and the clamp behind it."""
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

    inputs = {layer.args[0]: config.input_activation, layer.args[1]: config.weight}
    layer.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(input_qspec_map=inputs, _annotated=True)
    clamp.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(output_qspec=config.output_activation, _annotated=True)
