"""NNCF is given calibration images in batches: it must see what it sees in one image after another."""

import numpy as np
import phone
import pytest
from openvino_graph import Graph
from torch import nn

from mlkdc.errors import UsageError
from mlkdc.exporting.formats import openvino as exporter
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.merge import merge
from mlkdc.runtime.backends.openvino import load_openvino

for package in ("onnx", "onnxscript", "onnxslim"):
    pytest.importorskip(package)
# Not by importorskip: it must be imported without its telemetry, before anything else imports it.
try:
    load_openvino()
except UsageError as error:
    pytest.skip(str(error), allow_module_level=True)
nncf = pytest.importorskip("nncf")
pytestmark = pytest.mark.converter


class Quarters(nn.Module):
    """A convolution of the four quarters of a map, which are a batch to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.product = nn.Conv2d(channels, channels, 3)

    def forward(self, x):
        count, channels, height, width = x.shape
        x = x.reshape(count, channels, 2, height // 2, 2, width // 2).permute(0, 2, 4, 1, 3, 5)
        x = self.product(x.reshape(count * 4, channels, height // 2, width // 2))
        return x.reshape(count, 4, channels, *x.shape[-2:]).mean(1)


class PositionsFirst(nn.Module):
    """A linear layer of a map laid out position by position, one image's in the end: a batch's would be mixed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.product = nn.Linear(channels, channels)

    def forward(self, x):
        positions = self.product(x.flatten(2).permute(2, 0, 1))
        return positions.relu().reshape(len(x), *x.shape[2:], -1).permute(0, 3, 1, 2)


@pytest.fixture
def calibrated(tmp_path, monkeypatch):
    """What comes of an export with batches of at most so many images, and the batches' sizes."""
    sizes = []

    class Dataset(nncf.Dataset):
        def __init__(self, batches, transform):
            sizes.append([len(batch) for batch in batches])
            super().__init__(batches, transform)

    monkeypatch.setattr(nncf, "Dataset", Dataset)

    def calibrate(model, most, how, dynamic=False):
        monkeypatch.setattr(exporter, "BATCH", most)
        folder = tmp_path / str(len(sizes))
        folder.mkdir()
        phone.export(phone.make_job(model, "openvino", folder, "int8", dynamic=dynamic, quantization=how))
        return Graph(folder), sizes[-1]

    return calibrate


def constants(graph):
    """All numbers of the model but shapes, in the order of its layers: integers, and floating point."""
    found = {"i8": [], "f32": []}
    for layer in graph.layers.values():
        kind = layer.find("data").get("element_type") if layer.get("type") == "Const" else None
        if kind in found:
            found[kind].append(graph.values(layer, {"i8": np.int8, "f32": np.float32}[kind]))
    return found


@pytest.mark.parametrize("head", ["decoder", "attention"])
@pytest.mark.parametrize(("clip", "dynamic"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize(("count", "expected"), [(8, [4, 4]), (6, [3, 3])])
def test_what_is_measured_does_not_depend_on_the_batches(calibrated, head, clip, dynamic, count, expected):
    model = merge(phone.make_trained(head), phone.SIZE)[0]
    how = Quantization(phone.photos(count), clip=clip, correct_biases=True)
    alone, ones = calibrated(model, 1, how, dynamic)
    together, sizes = calibrated(model, 4, how, dynamic)
    assert (ones, sizes) == ([1] * count, expected)
    first, second = constants(alone), constants(together)
    assert len(first["i8"]) >= 5
    for kind, arrays in first.items():
        assert len(second[kind]) == len(arrays)
        # Another processor may round a batch otherwise, and a histogram then takes other bins.
        for one, other in zip(arrays, second[kind], strict=True):
            np.testing.assert_allclose(one, other, rtol=5e-3 if clip else 1e-5, atol=1e-5)


def test_nncf_corrects_biases_by_as_much(calibrated):
    model, images = phone.make_model(), phone.photos()
    plain = constants(calibrated(model, 4, Quantization(images, correct_biases=True))[0])["f32"]
    alone, together = (constants(calibrated(model, most, Quantization(images))[0])["f32"] for most in (1, 4))
    moved = [np.abs(one - before).max() for one, before in zip(alone, plain, strict=True)]
    assert max(moved) > 1e-3
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_the_exported_graph_takes_one_image(calibrated):
    graph, sizes = calibrated(phone.make_model(), 4, Quantization(phone.photos()))
    assert sizes == [4, 4]
    layers = [layer for layer in graph.layers.values() if layer.get("type") != "Const"]
    firsts = {port.findtext("dim") for layer in layers for port in layer.findall("output/port")}
    assert "4" not in firsts


@pytest.mark.parametrize("layer", [Quarters, PositionsFirst])
def test_a_model_that_is_right_for_one_image_sees_one_at_a_time(calibrated, wrap, layer):
    trained = wrap(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(), layer(8), channels=8)
    how = Quantization(phone.photos(), correct_biases=True)
    model = merge(trained.eval(), phone.SIZE)[0]
    graph, sizes = calibrated(model, 4, how)
    assert sizes == [1] * 8
    assert graph.weight_types()["backbone.2.product"] == "i8"
