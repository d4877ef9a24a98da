"""Initial weights from files and hubs: equal outputs when they fit, one clear sentence when they do not."""

import os
import urllib.error
from dataclasses import replace

import huggingface_hub
import pytest
import timm
import torch
import torchvision.models as zoo
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import save_file
from torch import nn

from mlkdc.errors import UsageError
from mlkdc.models import build_model, load_state, make_backbone, read_state
from mlkdc.models.weights import load_backbone
from mlkdc.recipe import Head, Model, Teacher

X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 255


def _build(name="mobilenetv2", classes=4, weights="none", seed=0, section=Model, **rest):
    torch.manual_seed(seed)
    return build_model(section(model=name, weights=str(weights), head=Head(dim=16, ffn=16), **rest), classes, 64).eval()


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_timm_file_gives_timms_features(tmp_path, suffix):
    torch.manual_seed(5)
    reference = timm.create_model("mobilenetv2_050").eval()
    path = tmp_path / f"w.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(reference.state_dict(), path)
    model = _build(weights=path, width=0.5)
    assert torch.equal(model.features(X), reference.forward_features(model.normalize(X)))


def test_half_precision_file_without_step_counters(tmp_path):
    torch.manual_seed(5)
    state = timm.create_model("mobilenetv2_050").state_dict()
    stored = {n: t.half() if t.ndim > 1 else t for n, t in state.items() if "num_batches" not in n}
    save_file(stored, tmp_path / "half.safetensors")
    model = _build(weights=tmp_path / "half.safetensors", width=0.5)
    assert {t.dtype for t in read_state(tmp_path / "half.safetensors").values()} == {torch.float32}
    assert torch.equal(model.backbone.body.conv_stem.weight, state["conv_stem.weight"].half().float())


def test_torchvision_file(tmp_path):
    torch.manual_seed(5)
    reference = zoo.shufflenet_v2_x0_5(weights=None).eval()
    torch.save({"state_dict": reference.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    model = _build("shufflenetv2_x0_5", weights=tmp_path / "w.pth")
    expected = reference(model.normalize(X))
    torch.testing.assert_close(reference.fc(model.features(X).mean(dim=(2, 3))), expected)


def test_transformer_file_of_another_image_size(tmp_path):
    torch.manual_seed(5)
    reference = timm.create_model("vit_tiny_patch16_224", img_size=128)
    save_file(reference.state_dict(), tmp_path / "w.safetensors")
    model = _build("vit_tiny_patch16_224", weights=tmp_path / "w.safetensors")
    assert torch.equal(model.backbone.body.patch_embed.proj.weight, reference.patch_embed.proj.weight)
    assert model.backbone.body.pos_embed.shape == (1, 1 + 16, 192)


def test_complete_model_file_gives_identical_logits(tmp_path):
    saved = _build(seed=1)
    save_file(saved.state_dict(), tmp_path / "model.safetensors")
    assert torch.equal(_build(weights=tmp_path / "model.safetensors", seed=2)(X), saved(X))
    other = _build(seed=2)
    load_state(other, tmp_path / "model.safetensors", "teacher file")
    assert torch.equal(other(X), saved(X))
    load_state(other, _build(seed=3).state_dict(), "state")
    assert not torch.equal(other(X), saved(X))


def test_complete_model_file_without_step_counters(tmp_path):
    """torch's state dicts carry version numbers, by which BatchNorm would insist on its counters."""
    saved = _build(seed=1)
    state = saved.state_dict()
    for name in list(state):
        if name.endswith("num_batches_tracked"):
            del state[name]
    torch.save(state, tmp_path / "model.pt")
    other = _build(seed=2)
    load_state(other, tmp_path / "model.pt", "teacher file")
    assert torch.equal(other(X), saved(X))


def test_a_classifier_that_timm_names_twice_is_skipped():
    torch.manual_seed(5)
    backbone = make_backbone("resnet10t", 1.0, 64)
    backbone.cfg = replace(backbone.cfg, classifier=("first.classifier", "second"))
    extra = {"first.classifier.weight": torch.zeros(1), "second.bias": torch.zeros(1), "fc.weight": torch.zeros(1)}
    state = {name: torch.full_like(tensor, 2) for name, tensor in backbone.body.state_dict().items()}
    load_backbone(backbone, state | extra, "file")
    assert all((tensor == 2).all() for tensor in backbone.body.state_dict().values())
    with pytest.raises(UsageError, match=r"unexpected third\.bias"):
        load_backbone(backbone, state | {"third.bias": torch.zeros(1)}, "file")


def test_complete_model_of_other_labels_architecture_or_head():
    model = _build()
    with pytest.raises(UsageError, match=r"teacher a.pt .* trained for 7 labels and the data has 4"):
        load_state(model, _build(classes=7).state_dict(), "teacher a.pt")
    with pytest.raises(UsageError, match=r"its backbone is different .*use the model, width and head"):
        load_state(model, _build("shufflenetv2_x0_5").state_dict(), "teacher a.pt")
    with pytest.raises(UsageError, match=r"its backbone is different .*was expected"):
        load_state(model, _build(width=0.5).state_dict(), "teacher a.pt")
    wider = build_model(Model(weights="none", head=Head(kind="compact", dim=32, ffn=16)), 4, 64)
    with pytest.raises(UsageError, match="its head is different"):
        load_state(model, wider.state_dict(), "teacher a.pt")
    linear = [build_model(Model(weights="none", head=Head(kind="linear")), q, 64) for q in (4, 5)]
    with pytest.raises(UsageError, match="trained for 5 labels and the data has 4"):
        load_state(linear[0], linear[1].state_dict(), "teacher a.pt")


def test_backbone_file_of_another_model(tmp_path):
    save_file(timm.create_model("mobilenetv2_050").state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"does not fit the backbone mobilenetv2_100: .* is \[.*\] where \[.*\] was"):
        _build(weights=tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=r"backbone shufflenet_v2_x0_5: missing .* and \d+ more; unexpected"):
        _build("shufflenetv2_x0_5", weights=tmp_path / "w.safetensors")


class _Code:
    def __reduce__(self):
        return os.mkdir, ("ran-code",)


def test_files_that_are_not_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"not weights")
    (tmp_path / "b.pt").write_bytes(b"not weights")
    torch.save({"w": _Code()}, tmp_path / "c.pt")
    torch.save(nn.Linear(1, 1), tmp_path / "d.pt")
    torch.save([1, 2], tmp_path / "e.pt")
    (tmp_path / "f.pt").write_bytes((tmp_path / "d.pt").read_bytes()[:300])
    (tmp_path / "g.pt").write_bytes(b"")
    for name, words in {
        "a.safetensors": "not a complete safetensors file",
        "b.pt": "not a complete torch state dict",
        "c.pt": "could run code",
        "d.pt": "could run code",
        "e.pt": r"expected a state dict \(tensors by name\), got a list",
        "f.pt": "not a complete torch state dict",
        "g.pt": "not a complete torch state dict",
        "absent.pt": "is not a file, 'pretrained' or 'none'",
    }.items():
        with pytest.raises(UsageError, match=words):
            _build(weights=name)
    assert not (tmp_path / "ran-code").exists()


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network")

    def nothing_cached(*_, local_files_only=False, **__):
        assert local_files_only, "asked the hub although it cannot be reached"
        raise LocalEntryNotFoundError("not cached")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", nothing_cached)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))


def test_pretrained_offline_names_the_file_and_both_settings_to_continue_with(offline):
    with pytest.raises(UsageError) as raised:
        _build(weights="pretrained")
    words = "model.safetensors", "timm/mobilenetv2_100", "--set student.weights=FILE", "--set student.weights=none"
    assert all(word in str(raised.value) for word in words)
    with pytest.raises(UsageError, match=r"shufflenetv2_x0.5-\w+.pth.* --set teacher.weights=FILE"):
        _build("shufflenetv2_x0_5", weights="pretrained", section=Teacher)


def test_pretrained_from_the_caches(offline, tmp_path, monkeypatch):
    torch.manual_seed(5)
    reference = timm.create_model("mobilenetv2_050")
    save_file(reference.state_dict(), tmp_path / "cached.safetensors")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **__: str(tmp_path / "cached.safetensors"))
    model = _build(weights="pretrained", width=0.5)
    assert torch.equal(model.backbone.body.conv_head.weight, reference.conv_head.weight)
    url = zoo.ShuffleNet_V2_X0_5_Weights.DEFAULT.url
    (tmp_path / "checkpoints").mkdir()
    shuffle = zoo.shufflenet_v2_x0_5(weights=None)
    torch.save(shuffle.state_dict(), tmp_path / "checkpoints" / url.rpartition("/")[2])
    model = _build("shufflenetv2_x0_5", weights="pretrained")
    assert torch.equal(model.backbone.body.conv1[0].weight, shuffle.conv1[0].weight)


@pytest.mark.parametrize("width", [0.35, 0.6])
def test_pretrained_of_a_width_that_has_none(offline, width):
    with pytest.raises(UsageError, match=r"there are no pretrained weights for mobilenetv2.*weights=none"):
        _build(weights="pretrained", width=width)
