"""PT2E is given calibration images in batches: it must measure what it measures of one image after another."""

import phone
import pytest
import torch
from torch import nn

from mlkdc.exporting.formats import executorch as exporter
from mlkdc.exporting.int8 import pt2e
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.merge import merge

pytest.importorskip("executorch")
torchao = pytest.importorskip("torchao.quantization.pt2e.quantize_pt2e")
pytestmark = pytest.mark.converter


class CountOnce(nn.Module):
    """A convolution behind a shape with the number of images that a program is exported with."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.product = nn.Conv2d(channels, channels, 3)

    def forward(self, x):
        return self.product(x.reshape(int(x.shape[0]), *x.shape[1:]))


@pytest.fixture
def calibrated(tmp_path, monkeypatch):
    """The program that comes of a model and calibration images, and how many were given at once."""
    prepare = torchao.prepare_pt2e

    def calibrate(model, how, most, whole=True):
        sizes = []

        def prepared(*arguments):
            observed = prepare(*arguments)
            observed.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
            return observed

        monkeypatch.setattr(torchao, "prepare_pt2e", prepared)
        monkeypatch.setattr(pt2e, "BATCH", most)
        job = phone.make_job(model, "executorch", tmp_path, quantization=how)
        program = exporter._of_any_number(model, job) if whole else exporter._exported(model, job)
        return exporter._exported(pt2e.quantize(program, how, job.input_dtype), job), sizes

    return calibrate


def operations(program):
    """Each one's name, and the numbers that it is given."""
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    return [(str(node.target), [value for value in node.args if isinstance(value, int | float)]) for node in calls]


@pytest.mark.parametrize("head", ["decoder", "attention"])
def test_scales_do_not_depend_on_the_batches(calibrated, head):
    model, how = merge(phone.make_trained(head), phone.SIZE)[0], Quantization(phone.photos(7))
    alone, ones = calibrated(model, how, 1, whole=False)
    together, sizes = calibrated(model, how, 3)
    assert (ones, sizes) == ([1] * 7, [3, 3, 1])
    assert sum("quantize_per_tensor" in name for name, _ in operations(alone)) > 10
    for (name, numbers), (other_name, other_numbers) in zip(operations(alone), operations(together), strict=True):
        assert name == other_name
        assert other_numbers == pytest.approx(numbers, rel=1e-5)


def test_clipped_ranges_depend_little_on_them(calibrated):
    model, how = phone.make_model(), Quantization(phone.photos(), clip=True)
    programs = [calibrated(model, how, most)[0].module() for most in (1, 4)]
    images = torch.from_numpy(phone.photos()).float()
    for image in images:
        first, second = (program(image[None]) for program in programs)
        torch.testing.assert_close(first, second, rtol=0, atol=0.02)


def test_a_model_with_a_shape_for_one_number_sees_one_at_a_time(calibrated, wrap):
    trained = wrap(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.ReLU(), CountOnce(8), channels=8)
    program, sizes = calibrated(merge(trained.eval(), phone.SIZE)[0], Quantization(phone.photos()), 4)
    assert sizes == [1] * 8
    assert program.module()(torch.zeros(1, 3, phone.SIZE, phone.SIZE)).shape == (1, 3)
