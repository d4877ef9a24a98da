"""Attention and compact heads on every target, and all heads in batches, with biases that show where one strays."""

import numpy as np
import phone
import pytest
import torch

from mlkdc.exporting.batches import ALLOWED
from mlkdc.exporting.formats import run_exporter
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.attention import FoldedAttention
from mlkdc.exporting.merging.merge import merge
from mlkdc.models import AttentionHead
from mlkdc.runtime import open_artifact
from mlkdc.runtime.base import RUNTIMES
from mlkdc.runtime.targets import load_target, target_names

TOLERANCES = {"fp32": 1e-4, "fp16": 0.01, "int8": 0.1}
PAIRS = [(target, precision) for target in target_names() for precision in load_target(target).precisions]


def installed(target):
    if missing := load_target(target).missing():
        pytest.skip(f"{', '.join(missing)} not installed")


@pytest.mark.parametrize("residual", [0.0, 0.3, 2.0])
def test_the_folded_head_answers_like_the_head(residual):
    torch.manual_seed(0)
    head = AttentionHead(6, 4, residual, dropout=0.2).eval()
    torch.nn.init.normal_(head.bias)
    features = 3 * torch.randn(5, 6, 3, 2)
    with torch.no_grad():
        actual, expected = FoldedAttention(head)(features, labelwise=True), head(features, labelwise=True)
        torch.testing.assert_close(FoldedAttention(head)(features).logits, expected.logits)
    # For fine-tuning by methods that compare embeddings.
    torch.testing.assert_close(actual.logits, expected.logits)
    torch.testing.assert_close(actual.embeddings, expected.embeddings)


def test_a_merge_folds_it_and_says_that_no_query_was_constant():
    trained = phone.make_trained("attention")
    exported, report = merge(trained, phone.SIZE)
    assert isinstance(exported.head, FoldedAttention)
    assert not report.head
    assert report.max_logit_difference < 1e-4
    assert isinstance(trained.head, AttentionHead)


@pytest.mark.converter
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["attention", "compact"])
@pytest.mark.parametrize(("target", "precision"), PAIRS)
def test_every_target_answers_like_the_model(target, precision, kind, tmp_path):
    installed(target)
    trained = phone.make_trained(kind)
    how = Quantization(phone.photos(), reduce_range=True) if precision == "int8" else None
    job = phone.make_job(merge(trained, phone.SIZE)[0], target, tmp_path, precision, quantization=how)
    if RUNTIMES.get(job.target.runtime).cannot_run():
        assert run_exporter(job).files
        return
    manifest = phone.export(job)
    images = phone.photos().astype(np.float32)
    actual = phone.answers(phone.opened(job, manifest), manifest, images)
    right = phone.expected(trained, images)
    right = 1 / (1 + np.exp(-right))
    assert np.ptp(right, axis=0).max() > 3 * TOLERANCES[precision]
    np.testing.assert_allclose(actual, right, rtol=0, atol=TOLERANCES[precision])


def odd_images():
    """Photos, and what none is: black, white, one color at its limit, noise between whole numbers."""
    images = phone.photos().astype(np.float32)
    images[1], images[2] = 0, 255
    images[4, 1] = 255
    images[6] = np.random.default_rng(4).uniform(0, 255, images[6].shape)
    return images


def through_openvino(file):
    """The ONNX file as OpenVINO's own reader takes it."""
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda batch: model(batch)[0]


@pytest.mark.converter
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["attention", "compact", "decoder", "linear"])
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_in_a_batch_every_class_has_its_own_bias(target, kind, tmp_path):
    installed(target)
    trained = phone.make_trained(kind)
    manifest = phone.export(phone.make_job(merge(trained, phone.SIZE)[0], target, tmp_path, dynamic=True))
    manifest.save(tmp_path)
    images = odd_images()
    right = 1 / (1 + np.exp(-phone.expected(trained, images)))
    bias = trained.head.fc.bias if kind == "linear" else trained.head.bias
    assert np.ptp(bias.detach().numpy()) > 0.1  # a class with the bias of another shows
    with open_artifact(tmp_path) as session:
        runs = [session.run]
        if target == "onnx":
            runs.append(through_openvino(tmp_path / "model.onnx"))
        for run in runs:
            for count in (1, 3, 8):
                np.testing.assert_allclose(run(images[:count]), right[:count], rtol=0, atol=1e-4)


@pytest.mark.converter
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("target", "precision", "kind"),
    [
        ("onnx", "int8", "attention"),
        ("onnx", "int8", "compact"),
        ("onnx", "int8", "decoder"),
        ("onnx", "int8", "linear"),
        ("openvino", "int8", "attention"),
        ("openvino", "fp16", "attention"),
    ],
)
def test_rounded_models_answer_in_a_batch_as_alone(target, precision, kind, tmp_path):
    """With fewer classes than images, OpenVINO would scale those that are too many with what lies behind a table."""
    installed(target)
    how = Quantization(phone.photos(), reduce_range=True) if precision == "int8" else None
    model = merge(phone.make_trained(kind), phone.SIZE)[0]
    job = phone.make_job(model, target, tmp_path, precision, dynamic=True, quantization=how)
    phone.export(job).save(tmp_path)
    images = odd_images()
    with open_artifact(tmp_path) as session:
        runs = [session.run]
        if target == "onnx":
            runs.append(through_openvino(tmp_path / "model.onnx"))
        for run in runs:
            alone = np.concatenate([run(image[None]) for image in images])
            assert np.ptp(alone, axis=0).max() > 5 * ALLOWED[precision]
            for count in (3, 8):
                np.testing.assert_allclose(run(images[:count]), alone[:count], rtol=0, atol=ALLOWED[precision])
