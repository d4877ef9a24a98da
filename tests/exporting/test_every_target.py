"""Every shipped target in every precision: exported from one run, compared, opened, and refused when damaged."""

import numpy as np
import phone
import pytest
import torch
from mlkdc.commands.artifacts import predict_labels

from mlkdc.errors import UsageError
from mlkdc.exporting import export_run
from mlkdc.images import load_square
from mlkdc.runtime import Manifest, open_artifact
from mlkdc.runtime.base import RUNTIMES
from mlkdc.runtime.targets import load_target, target_names

# ExecuTorch takes minutes to quantize and lower a model where the processor is busy.
pytestmark = pytest.mark.timeout(900)
SIZE, CLASSES = 64, ("cat", "dog", "bird")
PAIRS = [(target, precision) for target in target_names() for precision in load_target(target).precisions]


@pytest.fixture(scope="module")
def runs(make_run, student):
    """By precision: a shipped student, and where answers are rounded a small model, in which errors do not grow."""
    large, small = make_run(student("shufflenetv2_x0_5")), make_run(phone.make_trained())
    for run in (large, small):
        run.thresholds = [0.0] * 3  # six images: one decision more or less would be too many
    return {"fp32": large, "fp16": small, "int8": small}


@pytest.fixture(scope="module")
def exported(runs):
    """Each artifact once, on first use."""
    made = {}

    def export(target, precision):
        if missing := load_target(target).missing():
            pytest.skip(f"{', '.join(missing)} not installed")
        if (target, precision) not in made:
            limits = {"max_drop": 100, "max_class_drop": 100}
            made[target, precision] = export_run(runs[precision], target, precision=precision, **limits)
        return made[target, precision]

    return export


@pytest.mark.parametrize(("target", "precision"), PAIRS)
def test_answers_like_the_model(target, precision, exported, runs, framed_noise):
    run = runs[precision]
    folder = exported(target, precision)
    manifest, spec = Manifest.load(folder), load_target(target)
    manifest.verify(folder)
    assert (manifest.target, manifest.precision) == (target, precision)
    assert set(manifest.files) | {"manifest.json"} == {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    }
    steps = manifest.quantization["steps"] if precision == "int8" else None
    assert (manifest.quantization is None) == (precision != "int8")
    assert steps is None or steps[-1]["passed"]
    if RUNTIMES.get(spec.runtime).cannot_run():
        assert manifest.status == "unverified"
        assert spec.unverified
        assert (manifest.parity.get("by") == spec.proxy) if spec.proxy else manifest.parity["passed"] is None
        return
    assert manifest.status == "ok"
    assert manifest.parity["by"] == spec.runtime
    with torch.no_grad():
        expected = run.model()(framed_noise).sigmoid().numpy()
    with open_artifact(folder, threads=1) as session:
        actual = session.predict(framed_noise.numpy())
    allowed = {"fp32": 1e-4, "fp16": 0.02, "int8": 0.15}[precision]
    spread = np.ptp(expected, axis=0)
    assert spread.max() > 3 * allowed  # a wrong image shows
    np.testing.assert_allclose(actual, expected, rtol=0, atol=allowed)
    label = spread.argmax()
    assert np.corrcoef(actual[:, label], expected[:, label])[0, 1] > 0.95
    photo = run.images.samples[1].image
    with torch.no_grad():
        square = load_square(photo, SIZE).transpose(2, 0, 1).astype(np.float32)
        (logits,) = run.model()(torch.from_numpy(square)[None])
    ((path, labels),) = predict_labels(folder, [photo], top=3)
    assert (path, [name for name, _ in labels]) == (photo, sorted(dict(labels), key=lambda name: -dict(labels)[name]))
    told = [dict(labels)[name] for name in CLASSES]
    np.testing.assert_allclose(told, logits.sigmoid().numpy(), rtol=0, atol=allowed)


@pytest.mark.parametrize("target", target_names())
def test_a_truncated_file_is_refused(target, exported, tmp_path):
    folder = exported(target, next(iter(load_target(target).precisions)))
    manifest = Manifest.load(folder)
    largest = max(manifest.files, key=lambda name: manifest.files[name]["bytes"])
    whole = (folder / largest).read_bytes()
    try:
        (folder / largest).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UsageError, match="cut short or replaced"):
            open_artifact(folder)
    finally:
        (folder / largest).write_bytes(whole)


@pytest.mark.parametrize("target", [name for name in target_names() if not load_target(name).dynamic])
def test_a_dynamic_batch_is_refused_where_the_target_cannot(target, runs):
    with pytest.raises(UsageError, match="takes one image at a time; leave out --dynamic"):
        export_run(runs["fp32"], target, dynamic=True)


@pytest.mark.parametrize("target", [name for name in target_names() if "uint8" not in load_target(name).dtypes])
def test_pixels_as_bytes_are_refused_where_the_target_cannot(target, runs, tmp_path):
    with pytest.raises(UsageError, match=f"{target} takes pixels as float32 only, got uint8; leave out --uint8"):
        export_run(runs["fp32"], target, input_dtype="uint8", out=tmp_path / "bytes")
    assert not list(tmp_path.iterdir())
