"""A float file that is kept: with other biases it is the very file that another conversion would give."""

import copy

import phone
import pytest
import torch
from torch import nn

from mlkdc.exporting.converted import Converted
from mlkdc.exporting.formats import litert, onnx
from mlkdc.exporting.int8.layers import layers_of


class Converter:
    """Writes parameters one after the other, equal ones once, between other bytes; a matrix is turned over."""

    def __init__(self, again: bool = False) -> None:
        self.calls = 0
        self.again = again

    def __call__(self, model: nn.Module) -> bytes:
        self.calls += 1
        state = model.state_dict()
        tensors = [tensor.T if tensor.ndim == 2 else tensor for tensor in state.values()]
        parts = list(dict.fromkeys(tensor.contiguous().numpy().tobytes() for tensor in tensors))
        if self.again:
            parts.append(state["0.bias"].numpy().tobytes())
        return b"head" + b"|".join(parts)


def file_of(converted: Converted, converter: Converter, model: nn.Module) -> bytes:
    return converted.of(model, lambda: converter(model))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)).requires_grad_(False)


def test_other_biases_are_written_into_the_file_without_another_conversion(model):
    converted, converter = Converted(), Converter()
    file_of(converted, converter, model)
    # In place, as a later attempt's copy would not: what is kept is what was converted.
    model[0].bias += 1
    corrected = file_of(converted, converter, model)
    assert converter.calls == 1
    assert corrected == Converter()(model)
    model[0].bias -= 2
    assert file_of(converted, converter, model) == Converter()(model)
    assert converter.calls == 1


@pytest.mark.parametrize("changed", ["0.weight", "1.bias"], ids=["not as it lies in memory", "too short to be sure"])
def test_what_is_not_found_for_sure_is_converted_again(model, changed):
    converted, converter = Converted(), Converter()
    before = file_of(converted, converter, model)
    other = copy.deepcopy(model)
    other.get_parameter(changed).add_(1)
    assert file_of(converted, converter, other) == Converter()(other) != before
    assert converter.calls == 2
    # The file that is kept is still the first one's.
    model[0].bias += 1
    assert file_of(converted, converter, model) == Converter()(model)
    assert converter.calls == 2


def test_of_two_equal_biases_which_a_converter_may_store_once_none_is_replaced():
    model = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 8)).requires_grad_(False)
    model[1].bias.copy_(model[0].bias)
    converted, converter = Converted(), Converter()
    file_of(converted, converter, model)
    model[0].bias += 1
    assert file_of(converted, converter, model) == Converter()(model)
    assert converter.calls == 2


def test_a_bias_that_is_found_twice_is_converted_again(model):
    converted, converter = Converted(), Converter(again=True)
    file_of(converted, converter, model)
    model[0].bias += 1
    assert file_of(converted, converter, model) == Converter(again=True)(model)
    assert converter.calls == 2


@pytest.mark.converter
@pytest.mark.parametrize(
    ("target", "packages"),
    [("onnx", ("onnx", "onnxscript", "onnxslim")), ("litert", ("litert_torch", "ai_edge_litert"))],
)
def test_the_file_is_that_of_another_conversion(target, packages, tmp_path, monkeypatch):
    for package in packages:
        pytest.importorskip(package)
    converter = {"onnx": (onnx, "_slimmed"), "litert": (litert, "_convert")}[target]
    original, calls = getattr(*converter), []
    monkeypatch.setattr(*converter, lambda job: calls.append(job) or original(job))
    model, kept = phone.make_model(), Converted()

    def exported(name: str, **shared: Converted) -> bytes:
        folder = tmp_path / name
        folder.mkdir()
        job = phone.make_job(model, target, folder, **shared)
        (file,) = phone.export(job).files
        return (folder / file).read_bytes()

    first = exported("first", converted=kept)
    for layer in layers_of(model.backbone).values():
        layer.bias.data += torch.randn_like(layer.bias)
    replaced = exported("replaced", converted=kept)
    assert len(calls) == 1
    assert replaced == exported("anew") != first
