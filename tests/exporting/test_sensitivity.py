"""The int8 rounding of one layer, against a slow loop, and that nothing of it stays."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from mlkdc.exporting.int8.sensitivity import sensitivity, weighted_modules
from mlkdc.exporting.merging.merge import merge

SIZE = 64


class Backwards(nn.Module):
    """Runs its layers in another order than it holds them, and one never."""

    def __init__(self):
        super().__init__()
        self.last, self.unused, self.first = nn.Conv2d(6, 4, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 6, 3, stride=4)

    def forward(self, x):
        return self.last(self.first(x).relu())


class Twice(nn.Module):
    """Runs a layer twice, another in between, with activations that work in place."""

    def __init__(self):
        super().__init__()
        self.first, self.twice, self.between = nn.Conv2d(3, 4, 3, stride=4), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        # Unlike a ReLU, it gives something else when it is done again.
        act = nn.SiLU(inplace=True)
        return self.twice(act(self.between(act(self.twice(act(self.first(x)))))))


@pytest.fixture
def model(wrap):
    return merge(wrap(Backwards(), channels=4), SIZE)[0]


@pytest.fixture
def images(framed_noise):
    return framed_noise[:3].to(torch.uint8).numpy()


NAMES = ["backbone.0.first", "backbone.0.last", "head.fc"]


def rounded(value: float, step: float, zero: int, least: int, most: int) -> float:
    """Python's round is to the nearest, a half to the even one."""
    return (min(max(round(value / step) + zero, least), most) - zero) * step


def loop(model, images, name: str, per_channel: bool) -> float:
    """One scalar after the other."""
    model = copy.deepcopy(model)
    layer = model.get_submodule(name)
    seen: list[torch.Tensor] = []
    watch = layer.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    pixels = torch.from_numpy(images)
    with torch.no_grad():
        expected = model.logits(pixels).numpy()
    watch.remove()
    low, high = min(*(x.min().item() for x in seen), 0), max(*(x.max().item() for x in seen), 0)
    step = (high - low) / 255
    zero = round(-low / step)
    w = layer.weight.detach().numpy()
    steps = [np.abs(channel if per_channel else w).max() / 127 for channel in w]
    rows = [[rounded(v, s, 0, -127, 127) for v in row.ravel().tolist()] for row, s in zip(w, steps, strict=True)]
    layer.weight = nn.Parameter(torch.tensor(rows).reshape(w.shape))

    def round_input(_, args):
        values = [rounded(v, step, zero, 0, 255) for v in args[0].ravel().tolist()]
        return torch.tensor(values).reshape(args[0].shape)

    layer.register_forward_pre_hook(round_input)
    with torch.no_grad():
        actual = model.logits(pixels).numpy()
    return float(np.mean([abs(a - b) for a, b in zip(actual.ravel(), expected.ravel(), strict=True)]))


def test_modules_are_in_the_order_they_run(model, framed_noise):
    assert weighted_modules(model, framed_noise[:1]) == NAMES


def test_a_decoder_head_runs_last(student, framed_noise):
    merged, _ = merge(student("mobilenetv2"), SIZE)
    names = weighted_modules(merged, framed_noise[:1])
    assert names[0] == "backbone.body.conv_stem"
    layers = ("embed", "to_score", "to_value", "to_out", "ffn.0", "ffn.3", "shortcut")
    assert names[-len(layers) :] == [f"head.{layer}" for layer in layers]


def test_a_layer_that_runs_twice_and_what_comes_before_it_are_those_of_the_slow_loop(wrap, images):
    model, _ = merge(wrap(Twice(), channels=4), SIZE)
    actual = sensitivity(model, images, per_channel=True)
    assert list(actual) == ["backbone.0.first", "backbone.0.twice", "backbone.0.between", "head.fc"]
    for name, change in actual.items():
        assert change == pytest.approx(loop(model, images, name, per_channel=True), rel=0.01)


@pytest.mark.parametrize("per_channel", [False, True])
def test_changes_are_those_of_the_slow_loop(model, images, per_channel):
    actual = sensitivity(model, images, per_channel=per_channel)
    assert list(actual) == NAMES
    for name, change in actual.items():
        assert change > 1e-5
        assert change == pytest.approx(loop(model, images, name, per_channel), rel=0.01)


def test_an_outlier_weight_costs_most_with_one_step_per_weight(model, images):
    layers = model.backbone[0]
    with torch.no_grad():
        layers.first.weight[0], layers.first.bias[0] = 0, -1  # nothing comes through here, the answers stay
        layers.last.weight[:, 0] = torch.tensor([50.0, 0, 0, 0]).view(4, 1, 1)
    single, several = (sensitivity(model, images, per_channel=per_channel) for per_channel in (False, True))
    assert max(single, key=single.get) == "backbone.0.last"
    assert single["backbone.0.last"] > 1.5 * several["backbone.0.last"]


def test_the_model_is_as_it_was_even_after_a_failure(model, images, framed_noise, monkeypatch):
    parameters = dict(model.named_parameters())
    state = copy.deepcopy(model.state_dict())
    expected = model(framed_noise)

    def same() -> None:
        assert all(parameter is parameters[name] for name, parameter in model.named_parameters())
        assert list(parameters) == [name for name, _ in model.named_parameters()]
        torch.testing.assert_close(model.state_dict(), state, rtol=0, atol=0)
        torch.testing.assert_close(model(framed_noise), expected, rtol=0, atol=0)
        assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())
        assert not any("forward" in vars(layer) for layer in model.modules())

    sensitivity(model, images, per_channel=True)
    same()
    calls = []

    def fails(batch):
        calls.append(batch)
        if len(calls) > 2:  # in the pass of the second layer
            raise RuntimeError("stop")
        return type(model).logits(model, batch)

    monkeypatch.setattr(model, "logits", fails)
    with pytest.raises(RuntimeError, match="stop"):
        sensitivity(model, images, per_channel=True)
    monkeypatch.undo()
    same()
