"""Backbones of both libraries give maps, and the libraries' models agree with them."""

import pytest
import timm
import torch
import torchvision.models as zoo
from torch import nn

from mlkdc.errors import UsageError
from mlkdc.models import STUDENTS, Backbone, check_name, make_backbone, model_names, prefers_channels_last


@pytest.mark.parametrize("name", STUDENTS)
def test_students_give_maps_of_a_thirty_second_of_the_image(name):
    backbone = make_backbone(name, 1.0, 64)
    assert backbone(torch.zeros(2, 3, 64, 64)).shape == (2, backbone.channels, 2, 2)
    assert backbone(torch.zeros(2, 3, 96, 64)).shape == (2, backbone.channels, 3, 2)


@pytest.mark.parametrize(
    ("name", "size", "side"),
    [
        ("swin_t", 64, 2),  # timm, [b, h, w, C]
        ("vit_tiny_patch16_224", 64, 4),  # timm, class token and a grid of tokens
        ("tf_efficientnet_lite0", 64, 2),
        ("mnasnet0_5", 64, 2),  # torchvision
        ("regnet_x_400mf", 64, 2),  # torchvision
    ],
)
def test_teachers_of_both_libraries_give_maps(name, size, side):
    backbone = make_backbone(name, 1.0, size)
    assert backbone(torch.zeros(2, 3, size, size)).shape == (2, backbone.channels, side, side)


@pytest.mark.parametrize("name", ["shufflenet_v2_x0_5", "mnasnet0_5", "squeezenet1_1", "googlenet"])
def test_torchvision_map_is_the_one_before_its_classifier(name):
    torch.manual_seed(0)
    arguments = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    reference = zoo.get_model(name, weights=None, **arguments).eval()
    backbone = make_backbone(name, 1.0, 64).eval()
    state = {key: value for key, value in reference.state_dict().items() if key in backbone.body.state_dict()}
    backbone.body.load_state_dict(state)
    x = torch.rand(2, 3, 64, 64)
    features = backbone(x)
    if name == "squeezenet1_1":
        logits = reference.classifier(features).flatten(1)
    else:
        classifier = reference.fc if hasattr(reference, "fc") else reference.classifier
        logits = classifier(features.mean(dim=(2, 3)))
    torch.testing.assert_close(logits, reference(x))


def test_swin_map_is_timms_in_order():
    torch.manual_seed(0)
    backbone = make_backbone("swin_t", 1.0, 64).eval()
    x = torch.rand(1, 3, 64, 64)
    theirs = backbone.body.forward_features(x)  # [1, 2, 2, 768]
    ours = backbone(x)
    for row in range(2):
        for column in range(2):
            assert torch.equal(ours[0, :, row, column], theirs[0, row, column])


def test_vit_map_skips_the_class_token():
    torch.manual_seed(0)
    backbone = make_backbone("vit_tiny_patch16_224", 1.0, 64).eval()
    x = torch.rand(1, 3, 64, 64)
    tokens = backbone.body.forward_features(x)  # [1, 1 + 16, 192]
    assert torch.equal(backbone(x)[0, :, 2, 3], tokens[0, 1 + 2 * 4 + 3])


@pytest.mark.parametrize("width", [0.35, 0.5, 0.6, 1.4])
def test_mobilenet_takes_any_width(width):
    backbone = make_backbone("mobilenetv2", width, 64)
    timm_width = {0.35: "035", 0.5: "050", 1.4: "140"}.get(width)
    if timm_width is None:
        narrow, wide = (make_backbone("mobilenetv2", w, 64).body.conv_head.in_channels for w in (0.5, 0.75))
        assert narrow < backbone.body.conv_head.in_channels < wide
    else:
        reference = timm.create_model(f"mobilenetv2_{timm_width}", num_classes=0)
        shapes = {name: tensor.shape for name, tensor in reference.state_dict().items()}
        assert {name: tensor.shape for name, tensor in backbone.body.state_dict().items()} == shapes


def test_mobilenets_residual_blocks_start_as_identities():
    body = make_backbone("mobilenetv2", 0.35, 32).body.eval()
    blocks = [block for block in body.modules() if getattr(block, "has_skip", False)]
    assert len(blocks) == 10  # table 2 of the paper: the repeated blocks of the sequences of 2, 3, 4, 3 and 3
    for block in blocks:
        x = torch.randn(1, block.conv_pw.in_channels, 4, 4)
        assert torch.equal(block(x), x)


def test_width_of_a_model_without_a_multiplier():
    with pytest.raises(UsageError, match=r"width 0.5: repvgg_a0 has no channel multiplier"):
        make_backbone("repvgg_a0", 0.5, 64)


def test_mistyped_names_are_answered_with_near_ones():
    with pytest.raises(UsageError, match=r"unknown model 'mobilnetv2'; did you mean mobilenetv2"):
        check_name("mobilnetv2")
    with pytest.raises(UsageError, match=r"no weights tagged 'ra_in2k'; did you mean mobilenetv2_100.ra_in1k"):
        check_name("mobilenetv2_100.ra_in2k")
    check_name("mobilenetv2_100.ra_in1k")


def test_every_alias_and_listed_name_is_valid():
    names = model_names()
    assert len(names) == len(set(names)) > 1000
    for name in [*STUDENTS, "resnet101", "swin_t", "swin_s", "wrn_101", "repvgg_a2", "vit_b_16"]:
        check_name(name)


def test_image_size_a_model_cannot_take():
    with pytest.raises(UsageError, match=r"maxvit_t cannot be used as a backbone for 64 x 64 images"):
        make_backbone("maxvit_t", 1.0, 64)


def test_channels_last_is_kept_from_repvgg_and_transformers():
    assert prefers_channels_last(make_backbone("mobilenetv2", 0.35, 32))
    assert not prefers_channels_last(make_backbone("repvgg_a0", 1.0, 32))
    assert not prefers_channels_last(make_backbone("vit_tiny_patch16_224", 1.0, 32))
    assert not prefers_channels_last(nn.Sequential(nn.Conv2d(3, 8, 1, stride=2), nn.Conv2d(8, 8, 3)))


STAGES = {
    "mobilenetv2": [(24, 16), (32, 8), (96, 4), (1280, 2)],
    "repvgg_a0": [(48, 16), (96, 8), (192, 4), (1280, 2)],
    "shufflenetv2_x1_0": [(24, 16), (116, 8), (232, 4), (1024, 2)],
    "resnet10t": [(64, 16), (128, 8), (256, 4), (512, 2)],
    "tf_efficientnet_lite0": [(24, 16), (40, 8), (112, 4), (1280, 2)],
    "swin_t": [(96, 16), (192, 8), (384, 4), (768, 2)],
    "swin_v2_t": [(96, 16), (192, 8), (384, 4), (768, 2)],  # torchvision, [b, h, w, C] inside
    "vit_tiny_patch16_224": [(192, 4)],
    "resnet20": [(16, 64), (32, 32), (64, 16)],
}


@pytest.mark.parametrize("name", STAGES)
def test_stages_are_one_map_for_each_resolution_and_end_with_the_feature_map(name):
    torch.manual_seed(0)
    backbone = make_backbone(name, 1.0, 64).eval()
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        stages = backbone.stages(x)
        assert torch.equal(stages[-1], backbone(x))
    assert [tuple(stage.shape) for stage in stages] == [(2, channels, side, side) for channels, side in STAGES[name]]


@pytest.mark.parametrize(("name", "source"), [("resnet10t", "resnet10t"), ("swin_t", "swin_tiny_patch4_window7_224")])
def test_stages_of_timms_models_are_what_its_feature_extractors_give(name, source):
    torch.manual_seed(0)
    backbone = make_backbone(name, 1.0, 64).eval()
    size = {"img_size": 64} if name == "swin_t" else {}
    extractor = timm.create_model(source, features_only=True, out_indices=(-4, -3, -2), **size).eval()
    missing = extractor.load_state_dict(
        {key.replace("layers.", "layers_"): value for key, value in backbone.body.state_dict().items()}, strict=False
    ).missing_keys
    assert not missing
    x = torch.rand(1, 3, 64, 64)
    for ours, theirs in zip(backbone.stages(x), extractor(x), strict=False):
        torch.testing.assert_close(ours, theirs.permute(0, 3, 1, 2) if name == "swin_t" else theirs)


def test_stages_of_torchvisions_models_are_what_their_layers_give():
    torch.manual_seed(0)
    backbone = make_backbone("shufflenetv2_x1_0", 1.0, 64).eval()
    reference = zoo.shufflenet_v2_x1_0(weights=None).eval()
    reference.load_state_dict(backbone.body.state_dict(), strict=False)
    seen = []
    for layer in (reference.maxpool, reference.stage2, reference.stage3, reference.conv5):
        layer.register_forward_hook(lambda _layer, _inputs, output: seen.append(output))
    x = torch.rand(1, 3, 64, 64)
    reference(x)
    for ours, theirs in zip(backbone.stages(x), seen, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["mobilenetv2", "shufflenetv2_x1_0", "repvgg_a0"])
def test_stages_take_one_pass_through_the_network(name):
    backbone = make_backbone(name, 1.0, 64).train()
    keys = set(backbone.state_dict())
    stages = backbone.stages(torch.rand(2, 3, 64, 64))
    counts = {key: int(value) for key, value in backbone.state_dict().items() if key.endswith("num_batches_tracked")}
    assert counts
    assert set(counts.values()) == {1}
    assert set(backbone.state_dict()) == keys
    first = next(layer for layer in backbone.body.modules() if isinstance(layer, nn.Conv2d)).weight
    for stage in stages:
        (gradient,) = torch.autograd.grad(stage.square().sum(), first, retain_graph=True)
        assert gradient.any()


def test_stages_of_a_model_that_does_not_give_them():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 4, 3, stride=2, padding=1)

        def forward(self, x):
            return self.layer(x)

    backbone = Backbone(Plain(), 32, None, "plainnet")
    with pytest.raises(
        UsageError, match=r"plainnet does not give the feature maps of its stages.*choose another model"
    ):
        backbone.stages(torch.zeros(1, 3, 32, 32))
