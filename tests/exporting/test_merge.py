import pytest
import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from timm.layers.std_conv import StdConv2d
from torch import nn

from mlkdc.errors import MlkdcError
from mlkdc.exporting.merging import merge as merging
from mlkdc.exporting.merging.model import ExportModel, for_half
from mlkdc.models import STUDENTS

SIZE = 64


def norms(model):
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def assert_equal(exported, model, framed_noise):
    with torch.no_grad():
        logits = model(framed_noise)
        tolerance = 2e-5 * logits.abs().max().item()
        torch.testing.assert_close(exported.logits(framed_noise), logits, rtol=0, atol=tolerance)
        # A probability moves by a quarter of its logit at most.
        torch.testing.assert_close(exported(framed_noise), logits.sigmoid(), rtol=0, atol=max(2e-5, tolerance / 4))


@pytest.mark.parametrize("name", STUDENTS)
def test_students_answer_the_same_with_nothing_left_to_fold(name, student, framed_noise):
    model = student(name)
    count = norms(model)
    exported, report = merging.merge(model, SIZE)
    assert_equal(exported, model, framed_noise)
    assert norms(exported) == 0
    assert report.conv_bn == count > 0
    assert report.normalization
    assert exported.scale is None
    assert report.max_logit_difference > 0


def test_repvgg_has_its_branches_counted_and_merged(student):
    model = student("repvgg_a0")
    exported, report = merging.merge(model, SIZE)
    # RepVGG-A0: the stem and 2 + 4 + 14 + 1 blocks, all with a 1x1 branch, all but five with an identity branch.
    assert report.branches == 22 + 17
    assert sum(isinstance(module, nn.Conv2d) for module in exported.backbone.modules()) == 22
    assert report.after.params_backbone < report.before.params_backbone
    assert report.after.macs_backbone < report.before.macs_backbone
    assert report.after.macs_head < report.before.macs_head
    assert report.before.params == sum(parameter.numel() for parameter in model.parameters())
    assert report.after.params == sum(parameter.numel() for parameter in exported.parameters())


def test_the_original_is_left_as_it_is(student):
    model = student("repvgg_a0")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    merging.merge(model, SIZE)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize(
    "first",
    [
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(3, 8, 5, stride=2, padding=2, bias=False),
        nn.Conv2d(3, 8, 7, padding=3, dilation=1),
        nn.Conv2d(3, 8, 4, stride=4),
        Conv2dSame(3, 8, 3, stride=2),
    ],
    ids=["3x3", "5x5 stride 2", "7x7", "patches", "tensorflow padding"],
)
def test_normalization_is_exact_at_the_border(first, wrap, framed_noise):
    model = wrap(first, channels=8)
    exported, report = merging.merge(model, SIZE)
    assert report.normalization
    with torch.no_grad():
        expected = model.features(framed_noise)
        actual = exported.backbone(framed_noise - exported.mean)
    assert (actual - expected).abs().max() < 1e-5 * expected.abs().max()


class MeanInBias(ExportModel):
    """The mean folded into the bias: right everywhere but at a zero-padded border."""

    def __init__(self, backbone, head, mean, scale):
        first = next(module for module in backbone.modules() if isinstance(module, nn.Conv2d))
        shift = (first.weight * mean.view(1, -1, 1, 1)).sum((1, 2, 3))
        first.bias = nn.Parameter(first.bias - shift)
        super().__init__(backbone, head, torch.zeros_like(mean), scale)


@pytest.mark.parametrize(("padding", "caught"), [(1, True), (0, False)])
def test_a_border_padded_with_zeros_is_caught(padding, caught, wrap, student, monkeypatch):
    monkeypatch.setattr(merging, "ExportModel", MeanInBias)
    small = wrap(nn.Conv2d(3, 8, 3, padding=padding), nn.BatchNorm2d(8), nn.ReLU(), channels=8)
    models = [small, student("mobilenetv2")] if caught else [small]
    for model in models:
        if caught:
            with pytest.raises(MlkdcError, match="logits differ by up to"):
                merging.merge(model, SIZE)
        else:
            merging.merge(model, SIZE)


def test_a_model_that_gives_nan_is_refused(wrap):
    model = wrap(nn.Conv2d(3, 8, 3), channels=8)
    model.head.fc.bias.data[0] = torch.nan
    with pytest.raises(MlkdcError, match="merging changed the model"):
        merging.merge(model, SIZE)


def test_the_activation_of_a_batchnorm_stays(wrap, framed_noise):
    model = wrap(nn.Conv2d(3, 8, 3, bias=False), BatchNormAct2d(8, act_layer=nn.ReLU6), channels=8)
    exported, report = merging.merge(model, SIZE)
    assert report.conv_bn == 1
    assert_equal(exported, model, framed_noise)
    assert exported.backbone(framed_noise - exported.mean).min() == 0


class ReadTwice(nn.Module):
    """The convolution's output is needed next to the normalized one."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)

    def forward(self, x):
        features = self.conv(x)
        return self.norm(features) + features


class SharedConv(nn.Module):
    """One convolution, two BatchNorms."""

    def __init__(self):
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x):
        return self.first(self.conv(x)).relu() + self.second(self.conv(-x))


class SharedNorm(nn.Module):
    """One BatchNorm, that normalizes what is no convolution's output too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)

    def forward(self, x):
        return self.norm(self.norm(self.conv(x)).relu())


class SeesImage(nn.Module):
    """The image goes past the first convolution too."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        return self.conv(x) * x.mean()


class Squared(nn.BatchNorm2d):
    """A BatchNorm that does more than normalize."""

    def forward(self, x):
        return super().forward(x) ** 2


@pytest.mark.parametrize(
    ("layers", "scaled"),
    [
        ([ReadTwice()], True),
        ([SharedConv()], False),
        ([SharedNorm()], True),
        ([nn.Conv2d(3, 8, 3), Squared(8)], True),
        ([StdConv2d(3, 8, 3), nn.BatchNorm2d(8)], False),
        ([nn.AvgPool2d(2), nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3)], False),
        ([nn.Conv2d(3, 9, 3, groups=3), nn.ReLU(), nn.BatchNorm2d(9), nn.Conv2d(9, 8, 1)], False),
        ([SeesImage()], False),
        ([nn.ConstantPad2d(1, 0.5), nn.Conv2d(3, 8, 3)], False),
    ],
    ids=[
        "read twice",
        "shared",
        "shared normalization",
        "another forward",
        "computed weight",
        "pool first",
        "grouped first",
        "image used elsewhere",
        "padded with a color",
    ],
)
def test_what_is_not_seen_to_be_safe_is_left_alone(layers, scaled, wrap, framed_noise):
    model = wrap(*layers, channels=8)
    count = norms(model)
    exported, report = merging.merge(model, SIZE)
    assert (report.conv_bn, norms(exported)) == (0, count)
    assert report.normalization is scaled
    assert (exported.scale is None) is scaled
    assert_equal(exported, model, framed_noise)


class TwoStems(nn.Module):
    def __init__(self):
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(3, 8, 5, padding=2), nn.Conv2d(3, 8, 3, padding=1)

    def forward(self, x):
        return self.wide(x).relu() + self.narrow(x)


def test_every_convolution_that_takes_the_image_is_scaled(wrap, framed_noise):
    model = wrap(TwoStems(), channels=8)
    exported, report = merging.merge(model, SIZE)
    assert report.normalization
    assert_equal(exported, model, framed_noise)


def test_uint8_and_float_pixels_give_the_same(wrap, framed_noise):
    exported, _ = merging.merge(wrap(nn.Conv2d(3, 8, 3), channels=8), SIZE)
    assert torch.equal(exported(framed_noise), exported(framed_noise.to(torch.uint8)))


@pytest.mark.parametrize("name", STUDENTS)
def test_for_half_precision_the_factor_is_on_the_pixels(name, student, framed_noise):
    exported, _ = merging.merge(student(name), SIZE)
    shrunk = for_half(exported, (1, 3, SIZE, SIZE))
    first, other = (next(m for m in model.modules() if isinstance(m, nn.Conv2d)) for model in (exported, shrunk))
    # Powers of two: not one bit is lost.
    assert torch.equal(other.weight, 64 * first.weight)
    assert shrunk.scale.item() == 1 / 64
    with torch.no_grad():
        torch.testing.assert_close(shrunk(framed_noise), exported(framed_noise), rtol=0, atol=1e-6)


def test_for_half_precision_a_model_whose_scale_is_an_operation_stays(wrap):
    exported, report = merging.merge(wrap(nn.AvgPool2d(2), nn.Conv2d(3, 4, 3), channels=4), SIZE)
    assert not report.normalization
    assert torch.equal(for_half(exported, (1, 3, SIZE, SIZE)).scale, exported.scale)
