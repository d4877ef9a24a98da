"""Every shipped target in every precision: exported from one run, compared, opened, and refused when damaged."""

import numpy as np
import phone
import pytest
import torch

from mlkdc.commands.predict import predict
from mlkdc.errors import UsageError
from mlkdc.exporting import export
from mlkdc.images import load_square
from mlkdc.records.manifest import Manifest
from mlkdc.runtime import open_artifact
from mlkdc.runtime.base import RUNTIMES
from mlkdc.runtime.targets import load_target, target_names

# ExecuTorch takes minutes to quantize and lower a model where the processor is busy.
pytestmark = [pytest.mark.converter, pytest.mark.timeout(900)]
SIZE, CLASSES = 64, ("cat", "dog", "bird")
PAIRS = [(target, precision) for target in target_names() for precision in load_target(target).precisions]


@pytest.fixture(scope="module")
def runs(make_run, student):
    """By precision: a shipped student, and where answers are rounded a small model, in which errors do not grow."""
    large, small = make_run(student("shufflenetv2_x0_5")), make_run(phone.make_trained())
    for run in (large, small):
        run.thresholds = (0.0,) * 3  # six images: one decision more or less would be too many
    return {"fp32": large, "fp16": small, "int8": small}


@pytest.fixture(scope="module")
def exported(runs):
    """Each artifact once, on first use; skipped where the target's packages are missing."""
    folders = {}

    def use(target, precision):
        if missing := load_target(target).missing():
            pytest.skip(f"{', '.join(missing)} not installed")
        if (target, precision) not in folders:
            limits = {"max_drop": 100, "max_class_drop": 100}
            folders[target, precision] = export(runs[precision], target, precision=precision, **limits)
        return folders[target, precision]

    return use


@pytest.mark.parametrize(("target", "precision"), PAIRS)
def test_answers_like_the_model(target, precision, exported, runs, framed_noise):
    run = runs[precision]
    folder = exported(target, precision)
    manifest, spec = Manifest.load(folder), load_target(target)
    manifest.verify(folder)
    assert (manifest.target, manifest.precision) == (target, precision)
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert set(manifest.files) | {"README.md", "manifest.json"} == written
    assert (manifest.quantization is None) == (precision != "int8")
    assert manifest.quantization is None or manifest.quantization.steps[-1].passed
    if RUNTIMES.get(spec.runtime).cannot_run():
        check_unverified(manifest, spec)
        return
    assert manifest.status == "ok"
    assert manifest.parity.comparison.runtime == spec.runtime
    with torch.no_grad():
        expected = run.model(framed_noise).sigmoid().numpy()
    with open_artifact(folder, threads=1) as session:
        actual = session.predict(framed_noise.numpy())
    allowed = {"fp32": 1e-4, "fp16": 0.02, "int8": 0.15}[precision]
    spread = np.ptp(expected, axis=0)
    assert spread.max() > 3 * allowed  # a wrong image shows
    np.testing.assert_allclose(actual, expected, rtol=0, atol=allowed)
    label = spread.argmax()
    assert np.corrcoef(actual[:, label], expected[:, label])[0, 1] > 0.95
    check_labels(folder, run, allowed)


def check_unverified(manifest, spec):
    """Of an artifact whose runtime cannot run here."""
    assert manifest.status == "unverified"
    assert manifest.details.unverified_by_authors == spec.unverified != ""
    if spec.proxy:
        assert manifest.parity.comparison.runtime == spec.proxy
    else:
        assert manifest.parity.passed is None


def check_labels(folder, run, allowed):
    """An image file gets the labels that the model gives its pixels, most probable first."""
    photo = run.data.samples[1].image
    with torch.no_grad():
        square = load_square(photo, SIZE).transpose(2, 0, 1).astype(np.float32)
        (logits,) = run.model(torch.from_numpy(square)[None])
    (prediction,) = predict(folder, [photo], top=3)
    labels = prediction.labels
    assert prediction.image == photo
    assert list(labels) == sorted(labels, key=lambda name: -labels[name])
    np.testing.assert_allclose([labels[name] for name in CLASSES], logits.sigmoid().numpy(), rtol=0, atol=allowed)


@pytest.mark.parametrize("target", target_names())
def test_a_truncated_file_is_refused(target, exported, tmp_path):
    folder = exported(target, load_target(target).default_precision)
    manifest = Manifest.load(folder)
    largest = max(manifest.files, key=lambda name: manifest.files[name].size_bytes)
    content = (folder / largest).read_bytes()
    try:
        (folder / largest).write_bytes(content[: len(content) // 2])
        with pytest.raises(UsageError, match="truncated or replaced"):
            open_artifact(folder)
    finally:
        (folder / largest).write_bytes(content)
