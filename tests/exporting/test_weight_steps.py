"""What a simulation takes for the int8 weights are those in the file, for each target's quantizer.

Rounded to other steps the errors are other ones: biases corrected for them lose more than they gain.
"""

import numpy as np
import phone
import pytest
import torch
from openvino_graph import Graph

from mlkdc.exporting.int8.layers import layers_of, rounded
from mlkdc.exporting.int8.quantizer import half_range
from mlkdc.exporting.job import Quantization
from mlkdc.runtime.targets import load_target

pytestmark = pytest.mark.converter
LAYERS = ["backbone.0", "backbone.4.wide.0", "backbone.4.deep.0", "backbone.4.narrow"]


def from_onnx(folder, layer):
    """The layer's weight as the file has it, in floating point."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(folder / "model.onnx").graph
    makers = {name: node for node in graph.node for name in node.output}
    values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    (conv,) = [node for node in graph.node if node.op_type == "Conv" and node.name.startswith(f"{layer}/")]
    weight, scales, *_ = makers[conv.input[1]].input
    return values[weight].reshape(len(values[weight]), -1) * values[scales][:, None]


def from_openvino(folder, layer):
    graph = Graph(folder)
    (name,) = [name for name in graph.products() if name.partition("/")[0] == layer]
    scales = graph.scale_values(layer)
    return graph.values(graph.source(name, 1), np.int8).reshape(len(scales), -1) * scales[:, None]


@torch.no_grad()
@pytest.mark.parametrize("reduced", [True, False])
@pytest.mark.parametrize(("target", "read"), [("onnx", from_onnx), ("openvino", from_openvino)])
def test_are_those_in_the_file(target, read, reduced, tmp_path):
    spec = load_target(target)
    if missing := spec.missing():
        pytest.skip(f"{', '.join(missing)} not installed")
    model = phone.make_model()
    how = half_range(phone.photos(), spec) if reduced else Quantization(phone.photos())
    phone.export(phone.make_job(model, target, tmp_path, quantization=how))
    for name in LAYERS:
        layer = layers_of(model)[name]
        with rounded(layer, 0.0, 1.0, per_channel=True, steps=how.steps_of(layer)):
            expected = layer.weight.detach().flatten(1).numpy()
        step = np.abs(layer.weight.detach().flatten(1).numpy()).max(1, keepdims=True) / how.steps_of(layer)
        difference = np.abs(read(tmp_path, name) - expected) / step
        # A weight that lies right between two steps may go to either, but for the largest, which always does.
        assert (difference > 0.01).mean() < 0.01, name
