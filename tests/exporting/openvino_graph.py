"""A parser of OpenVINO's files that is not OpenVINO's."""

from xml.etree import ElementTree

import numpy as np


class Graph:
    """What model.xml and model.bin hold: each layer's kind and attributes by name, and what it takes."""

    def __init__(self, folder):
        root = ElementTree.parse(folder / "model.xml").getroot()
        layers = {layer.get("id"): layer for layer in root.find("layers")}
        self.layers = {layer.get("name"): layer for layer in layers.values()}
        self.taken = {
            (layers[edge.get("to-layer")].get("name"), int(edge.get("to-port"))): layers[edge.get("from-layer")]
            for edge in root.find("edges")
        }
        self.bytes = (folder / "model.bin").read_bytes()

    def source(self, name, port, through=("Reshape", "Transpose", "Convert", "Multiply", "Subtract")):
        """What comes into a port, before the operations that only carry or rescale it."""
        layer = self.taken[name, port]
        while layer.get("type") in through:
            layer = self.taken[layer.get("name"), 0]
        return layer

    def products(self):
        """Names of the convolutions and products with weights."""
        kinds = ("Convolution", "GroupConvolution", "MatMul")
        names = [name for name, layer in self.layers.items() if layer.get("type") in kinds]
        return [name for name in names if self.source(name, 1).get("type") == "Const"]

    def weight_types(self):
        """``i8`` or ``f32`` for each convolution and product with weights, by the torch module's name."""
        return {
            name.partition("/")[0]: self.source(name, 1).find("data").get("element_type") for name in self.products()
        }

    def scales(self, module):
        """How many different scales the weight of a module has."""
        return self.scale_values(module).size

    def scale_values(self, module):
        """What the int8 weight of a module is multiplied with."""
        name = next(name for name in self.products() if name.partition("/")[0] == module)
        layer = self.taken[name, 1]
        while layer.get("type") != "Multiply":
            layer = self.taken[layer.get("name"), 0]
        return self.values(self.taken[layer.get("name"), 1], np.float32)

    def values(self, const, dtype):
        data = const.find("data")
        return np.frombuffer(
            self.bytes, dtype, int(data.get("size")) // np.dtype(dtype).itemsize, int(data.get("offset"))
        )

    def quantized_inputs(self):
        """(kind, module) of the layers that compute with quantized activations."""
        carry = ("Reshape", "Transpose")
        return {
            (layer.get("type"), name.partition("/")[0])
            for name, layer in self.layers.items()
            for port in (0, 1)
            if layer.get("type") not in carry
            and (name, port) in self.taken
            and self.source(name, port, carry).get("type") == "FakeQuantize"
        }

    def ranges(self):
        """(low, high) of what is quantized, by the name of where it comes from."""
        ranges = {}
        for name, layer in self.layers.items():
            if layer.get("type") == "FakeQuantize":
                low, high = (self.values(self.taken[name, port], np.float32).item() for port in (1, 2))
                ranges[self.source(name, 0).get("name")] = low, high
        return ranges
