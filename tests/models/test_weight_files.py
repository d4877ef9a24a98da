"""Weights as people have them: wrappers, prefixes, numpy, the RepVGG authors' names; and what is no weights file."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from mlkdc.errors import UsageError
from mlkdc.models import MultiLabelModel, build_model, load_state, read_state
from mlkdc.recipe import Head, Model

X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
State = dict[str, Tensor]


def student(
    weights: object = "none", model: str = "mobilenetv2", width: float = 0.35, **changes: Any
) -> MultiLabelModel:
    torch.manual_seed(0)
    spec = Model(model=model, width=width, weights=str(weights), head=Head(kind="linear"), **changes)
    return build_model(spec, 4, 64).eval()


@pytest.fixture(scope="module")
def reference() -> State:
    """Of timm's model, which no student begins with."""
    torch.manual_seed(5)
    return dict(timm.create_model("mobilenetv2_035").state_dict())


def with_prefix(state: State, prefix: str) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


OTHER = {"epoch": 3, "optimizer": {"state": {}, "param_groups": []}, "best": np.float64(0.9)}
FILES: dict[str, Callable[[State], Any]] = {
    "module": lambda state: with_prefix(state, "module."),
    "compiled": lambda state: with_prefix(state, "_orig_mod."),
    "both": lambda state: with_prefix(state, "module._orig_mod."),
    "lightning": lambda state: {"state_dict": {**with_prefix(state, "model."), "criterion.weight": torch.ones(3)}},
    "a name of their own": lambda state: with_prefix(state, "trunk."),
    "student and teacher": lambda state: with_prefix(state, "student.") | with_prefix(ones(state), "teacher."),
    "backbone and head": lambda state: with_prefix(state, "backbone.") | {"head.fc.weight": torch.zeros(5, 1280)},
    "wrapped": lambda state: {**OTHER, "state_dict": with_prefix(state, "module.")},
    "arguments": lambda state: {"state_dict": state, "args": argparse.Namespace(lr=1.0, out=Path("x"))},
    "net": lambda state: {"net": state, "acc": 1.0},
    "network": lambda state: {"network": state},
    "weights": lambda state: {"weights": state},
    "model_state_dict": lambda state: {"model_state_dict": state, "optimizer_state_dict": {}, "loss": torch.ones(1)},
    "an unknown wrapper": lambda state: {"best_weights": state, "epoch": 3},
    "two wrappers": lambda state: {"model_ema": {"module": state}},
    "averaged": lambda state: {"state_dict": ones(state), "state_dict_ema": state},
    "with a number": lambda state: {**state, "epoch": 3},
    "numpy": lambda state: {name: tensor.numpy() for name, tensor in state.items()},
}


def ones(state: State) -> State:
    return {name: torch.ones_like(tensor) for name, tensor in state.items()}


@pytest.mark.parametrize("name", FILES)
def test_the_weights_are_found(reference: State, tmp_path: Path, name: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save(FILES[name](reference), path)
    body = student(path).backbone.body.state_dict()
    for key, tensor in body.items():
        assert torch.equal(tensor, reference[key]), key


def test_the_same_names_in_safetensors_and_a_wrong_suffix(reference: State, tmp_path: Path) -> None:
    save_file(with_prefix(reference, "module."), tmp_path / "a.safetensors")
    torch.save(reference, tmp_path / "b.safetensors")
    for name in ("a.safetensors", "b.safetensors"):
        body = student(tmp_path / name).backbone.body
        assert torch.equal(body.state_dict()["conv_stem.weight"], reference["conv_stem.weight"])


def test_a_complete_model_under_a_prefix(tmp_path: Path) -> None:
    torch.manual_seed(7)
    saved = build_model(Model(width=0.35, weights="none", head=Head(kind="linear")), 4, 64).eval()
    path = tmp_path / "ddp.pt"
    torch.save({"model": with_prefix(dict(saved.state_dict()), "module.")}, path)
    assert torch.equal(student(path)(X), saved(X))
    other = student()
    load_state(other, path, "teacher file")
    assert torch.equal(other(X), saved(X))


def test_the_authors_repvgg(tmp_path: Path) -> None:
    torch.manual_seed(5)
    theirs = timm.create_model("repvgg_a0").eval()
    # After github.com/DingXiaoH/RepVGG, repvgg.py: stage0 is the stem; rbr_dense, rbr_1x1, rbr_identity are branches.
    names = {"stem.": "stage0.", "head.fc.": "linear."}
    names |= {f"stages.{number}.": f"stage{number + 1}." for number in range(4)}
    parts = {"conv_kxk": "rbr_dense", "conv_1x1": "rbr_1x1", "identity": "rbr_identity"}
    state = {}
    for name, tensor in theirs.state_dict().items():
        for timms, authors in names.items():
            if name.startswith(timms):
                name = authors + name.removeprefix(timms)
        state[".".join(parts.get(part, part) for part in name.split("."))] = tensor
    assert {"stage0.rbr_dense.conv.weight", "stage4.0.rbr_1x1.bn.bias", "stage1.1.rbr_identity.weight"} <= set(state)
    torch.save(with_prefix(state, "module."), tmp_path / "RepVGG-A0-train.pth")
    model = student(tmp_path / "RepVGG-A0-train.pth", "repvgg_a0", 1.0)
    assert torch.equal(model.features(X), theirs.forward_features(model.normalize(X)))


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran-code",)


def test_what_holds_no_weights_is_said_to_be_what_it_is(
    reference: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": reference, "hook": Code()}, "code.pt")
    torch.save({"epoch": 3, "loss": 0.1}, "numbers.pt")
    torch.save({"a": {"w": torch.ones(1)}, "b": {"w": torch.ones(1)}}, "two.pt")
    Path("lfs.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 14\n")
    Path("page.pt").write_text("<!DOCTYPE html><html>")
    Path("empty.pt").write_bytes(b"")
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save("script.pt")  # type: ignore[no-untyped-call]
    expected = {
        "code.pt": r"holds more than tensors \(posix\.mkdir\)|\(nt\.mkdir\)",
        "numbers.pt": "got a dict of epoch, loss; save the weights alone",
        "two.pt": "got a dict of a, b",
        "lfs.pt": "Git LFS pointer",
        "page.pt": "a web page",
        "empty.pt": "it is empty",
        "script.pt": "a TorchScript archive",
    }
    for name, said in expected.items():
        with pytest.raises(UsageError, match=said):
            read_state(Path(name))
    assert not Path("ran-code").exists()


def test_what_does_not_fit_is_named_without_its_prefix(reference: State, tmp_path: Path) -> None:
    lacking = {name: tensor for name, tensor in reference.items() if not name.startswith("conv_head")}
    torch.save(with_prefix(lacking, "module."), tmp_path / "a.pt")
    with pytest.raises(UsageError, match=r"missing conv_head\.weight; try"):
        student(tmp_path / "a.pt")


def test_another_normalization(tmp_path: Path) -> None:
    usual = student()
    model = student(weights_mean=(0.5, 0.5, 0.5), weights_std=(0.25, 0.25, 0.25))
    assert (model.preprocess.mean, model.preprocess.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    torch.testing.assert_close(model.normalize(X), (X / 255 - 0.5) / 0.25)
    assert usual.preprocess.mean != model.preprocess.mean


def test_weights_that_hold_nan_are_refused(reference: State, tmp_path: Path) -> None:
    broken = dict(reference)
    name = next(name for name, tensor in reference.items() if tensor.is_floating_point())
    broken[name] = reference[name] * float("nan")
    torch.save(broken, tmp_path / "broken.pt")
    with pytest.raises(UsageError, match=f"holds NaN \\(in {name}\\)"):
        read_state(tmp_path / "broken.pt")
