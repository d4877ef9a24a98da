"""The steps that a simulation rounds weights to are those of each target's quantizer.

Rounded to other steps the errors are other ones: biases corrected for them lose more than they gain.
"""

import numpy as np
import phone
import pytest
from openvino_graph import Graph

from mlkdc.exporting.int8.layers import layers_of
from mlkdc.exporting.job import Quantization
from mlkdc.runtime.targets import load_target

pytestmark = pytest.mark.converter
LAYER = "backbone.0"


def onnx_scales(folder):
    """Of the layer's weight, one for each channel."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(folder / "model.onnx").graph
    makers = {name: node for node in graph.node for name in node.output}
    values = {item.name: onnx.numpy_helper.to_array(item) for item in graph.initializer}
    (conv,) = [node for node in graph.node if node.op_type == "Conv" and node.name.startswith(f"{LAYER}/")]
    return values[makers[conv.input[1]].input[1]]


def openvino_scales(folder):
    (name,) = [name for name in Graph(folder).weight_types() if name == LAYER]
    return Graph(folder).scale_values(name)


@pytest.mark.parametrize("reduced", [True, False])
@pytest.mark.parametrize(("target", "scales"), [("onnx", onnx_scales), ("openvino", openvino_scales)])
def test_of_the_largest_weight(target, scales, reduced, tmp_path):
    spec = load_target(target)
    if missing := spec.missing():
        pytest.skip(f"{', '.join(missing)} not installed")
    model = phone.make_model()
    phone.export(phone.make_job(model, target, tmp_path, quantization=Quantization(phone.photos(), reduce_range=reduced)))
    weight = layers_of(model)[LAYER].weight.detach().numpy()
    largest = np.abs(weight).reshape(len(weight), -1).max(1)
    expected = spec.half_range_steps if reduced else Quantization(phone.photos()).weight_steps
    np.testing.assert_allclose(largest / scales(tmp_path).ravel(), expected, rtol=1e-4)
