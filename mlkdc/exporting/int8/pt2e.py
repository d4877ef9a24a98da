"""Static quantization of an exported torch program for XNNPACK: int8 weights and activations (PT2E)."""

from dataclasses import replace
from typing import Any

import torch
from torch.fx import GraphModule, Node

from mlkdc.exporting.formats import Quantization

_aten = torch.ops.aten
_LAYERS = (_aten.conv2d.default, _aten.linear.default)
_CLAMPS = (_aten.hardtanh.default, _aten.hardtanh_.default)
# In the head these are left in float: a LayerNorm, which is in float anyway, follows the sums, and the product with
# one weight per label is the answer.
_FLOAT_IN_HEAD = (_aten.add.Tensor, _aten.mul.Tensor)


def quantize(program: torch.export.ExportedProgram, how: Quantization, dtype: str) -> GraphModule:
    """The program's module with quantization and its inverse around what XNNPACK is to compute in int8.

    Args:
        program: of one NCHW picture.
        how: calibration pictures, ranges, and which modules are left alone.
        dtype: of its input.
    """
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    observed = prepare_pt2e(program.module(), _quantizer(how))
    with torch.no_grad():
        for image in how.images:
            observed(torch.from_numpy(image)[None].to(getattr(torch, dtype)))
    return convert_pt2e(observed)


def _quantizer(how: Quantization) -> Any:
    """XNNPACK's own quantizer, told which nodes it may quantize."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e import MinMaxObserver

    class WithClamps(XNNPACKQuantizer):
        """It fuses ReLU and not ReLU6, whose input it would quantize with a range that is clamped right after."""

        def annotate(self, model: GraphModule) -> GraphModule:
            for node in model.graph.nodes:
                if node.target in _CLAMPS and node.args[0].target in _LAYERS and len(node.args[0].users) == 1:
                    _annotate(node.args[0], node, config, chosen)
            return super().annotate(model)

    def chosen(node: Node) -> bool:
        stack = list(node.meta.get("nn_module_stack", {}).values())
        module = stack[-1][0] if stack else ""
        return not how.keeps(module) and not (module.split(".")[0] == "head" and node.target in _FLOAT_IN_HEAD)

    config = get_symmetric_quantization_config(is_per_channel=how.per_channel)
    if not how.clip:  # its own choice is a histogram, of which the range with the least error is taken
        activation = replace(config.input_activation, observer_or_fake_quant_ctr=MinMaxObserver.with_args(eps=2**-12))
        config = replace(config, input_activation=activation, output_activation=activation)
    return WithClamps().set_global(config).set_filter_function(chosen)


def _annotate(layer: Node, clamp: Node, config: Any, chosen: Any) -> None:
    """One int8 operator of a layer and the clamp behind it."""
    from torchao.quantization.pt2e.quantizer import QuantizationAnnotation
    from torchao.quantization.pt2e.quantizer.quantizer import Q_ANNOTATION_KEY

    if not (chosen(layer) and chosen(clamp)):
        return
    given = {layer.args[0]: config.input_activation, layer.args[1]: config.weight}
    layer.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(input_qspec_map=given, _annotated=True)
    clamp.meta[Q_ANNOTATION_KEY] = QuantizationAnnotation(output_qspec=config.output_activation, _annotated=True)
