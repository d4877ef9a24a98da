"""Opening artifacts and predicting, with what a user may have done to the folder in between."""

import hashlib
import json
import sys

import numpy as np
import pytest
from PIL import Image

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.manifest import InputSpec, Manifest, RuntimeDetails, describe_files
from mlkdc.records.parity import Parity
from mlkdc.records.preparation import Preparation
from mlkdc.runtime import open_artifact
from mlkdc.runtime.base import RUNTIMES, Backend
from mlkdc.runtime.predict import predict_files


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_predict_is_the_known_mathematics(make_artifact, images, expected, dtype, dynamic):
    folder = make_artifact(dtype=dtype, dynamic=dynamic)
    with open_artifact(folder, threads=1) as session:
        for given in (images, images.astype(np.float32), images.astype(np.float64)):
            found = session.predict(given)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected(images), atol=1e-6)
        assert session.predict(images[:0]).shape == (0, 3)


@pytest.mark.parametrize(("dynamic", "sizes"), [(False, [1] * 40), (True, [32, 8])])
def test_static_artifacts_run_image_by_image_and_dynamic_ones_in_batches(
    make_artifact, expected, dynamic, sizes, monkeypatch
):
    session = open_artifact(make_artifact(dynamic=dynamic))
    given = []
    run = session.run
    monkeypatch.setattr(session, "run", lambda batch: given.append(len(batch)) or run(batch))
    images = np.random.default_rng(1).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    np.testing.assert_allclose(session.predict(images), expected(images), atol=1e-6)
    assert given == sizes


def test_pixels_are_never_rounded_or_reshaped_in_silence(make_artifact, images):
    session = open_artifact(make_artifact(dtype="uint8"))
    for wrong in (images + np.float32(0.5), images - np.float32(256), images * np.float32(2)):
        with pytest.raises(UsageError, match=r"whole numbers|pixels in 0\.\.255"):
            session.predict(wrong)
    with pytest.raises(UsageError, match=r"shape \[n, 3, 8, 8\], got \(7, 8, 8, 3\)"):
        session.predict(images.transpose(0, 2, 3, 1))
    with pytest.raises(UsageError, match="int64"):
        session.predict(images.astype(np.int64))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_no_numbers_are_refused(make_artifact, images, bad):
    pixels = images.astype(np.float32)
    pixels[2, 1, 3, 3] = bad
    with pytest.raises(UsageError, match="got NaN or infinity"):
        open_artifact(make_artifact()).predict(pixels)


def test_normalizing_twice_is_refused(make_artifact, images):
    """Pixels that a caller has normalized, as mean and std in a manifest would invite."""
    normalized = (images / np.float32(255) - 0.45) / np.float32(0.22)
    with pytest.raises(UsageError, match="normalization is inside the model: pass pixels as they are"):
        open_artifact(make_artifact()).predict(normalized)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["red", "green", "red"]}, "expected each class once, got red more than once"),
        ({"thresholds": [0.5, float("nan"), 0.5]}, r"thresholds\.1: input should be a valid number, got None"),
        ({"thresholds": [0.5, 1.5, 0.5]}, r"thresholds\.1: input should be less than or equal to 1, got 1\.5"),
        ({"status": "fine"}, "status: input should be 'ok', 'failed' or 'unverified', got 'fine'"),
        (
            {"input": {"name": "image", "shape": [1, 3, 8, 8], "layout": "NHWC", "dtype": "float32"}},
            r"images of size 8 in layout NHWC have shape \(1, 8, 8, 3\), the input has \(1, 3, 8, 8\)",
        ),
        (
            {"input": {"name": "image", "shape": [1, 3, 9, 9], "layout": "NCHW", "dtype": "float32"}},
            r"images of size 8 in layout NCHW have shape \(1, 3, 8, 8\), the input has \(1, 3, 9, 9\)",
        ),
        ({"parity": {"passed": False}}, "status is ok, and its comparison with the torch model was not passed"),
        ({"classes": ["blue", "green", "red"]}, "was changed since its export"),
        ({"thresholds": [0.1, 0.5, 0.5]}, "was changed since its export"),
        ({"checksum": "0" * 64}, "was changed since its export"),
    ],
)
def test_an_edited_manifest_is_refused_with_one_sentence(make_artifact, change, message):
    path = make_artifact() / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError, match=message) as caught:
        open_artifact(path.parent)
    assert "\n" not in str(caught.value)
    assert "export the run again" in str(caught.value)


def checksum(values):
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def test_the_checksum_is_that_of_the_rest(make_artifact):
    values = json.loads((make_artifact() / "manifest.json").read_text())
    recorded = values.pop("checksum")
    assert recorded == checksum(values)


def test_a_layout_or_size_that_the_file_does_not_have_is_refused(make_artifact):
    """Whoever writes a checksum too is told by the file."""
    folder = make_artifact()
    manifest = Manifest.load(folder)
    turned = InputSpec(name="image", shape=(1, 8, 8, 3), layout="NHWC", dtype="float32")
    larger = InputSpec(name="image", shape=(1, 3, 9, 9), layout="NCHW", dtype="float32")
    for spec, size in ((turned, 8), (larger, 9)):
        manifest.model_copy(update={"input": spec, "preprocess": Preparation(size=size)}).save(folder)
        with pytest.raises(UsageError, match=r"the manifest says input .*, the file has"):
            open_artifact(folder)


def test_an_artifact_of_another_runs_classes_is_told(make_artifact):
    folder = make_artifact()
    labels = folder.parent.parent / "classes.txt"
    labels.write_text("red\ngreen\nblue\n")
    open_artifact(folder)
    for text, difference in (("blue\ngreen\nred\n", "another order"), ("red\ncat\n", "1 of the run's are missing")):
        labels.write_text(text)
        with pytest.raises(UsageError, match=f"is an artifact of another run: .*{difference}"):
            open_artifact(folder)


def test_predict_files_reads_rgb_in_order(make_artifact, expected, tmp_path):
    colors = [(255, 0, 0), (0, 255, 0), (10, 20, 200)]
    paths = []
    for i, color in enumerate(colors):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (30, 17), color).save(paths[-1])
    pixels = np.array(colors, dtype=np.uint8)[:, :, None, None] * np.ones((1, 1, 8, 8), dtype=np.uint8)
    found = predict_files(open_artifact(make_artifact()), paths)
    np.testing.assert_allclose(found, expected(pixels), atol=1e-6)
    paths[1].write_bytes(b"not an image")
    with pytest.raises(UsageError, match=r"1\.png: not an image"):
        predict_files(open_artifact(make_artifact()), paths)


def test_manifest_survives_the_round_trip(make_artifact):
    folder = make_artifact(thresholds=(0.1, 0.2, 0.3))
    manifest = Manifest.load(folder)
    before = (folder / "manifest.json").read_text()
    manifest.save(folder)
    assert (folder / "manifest.json").read_text() == before
    assert next(iter(json.loads(before))) == "format"
    assert manifest.size_bytes == (folder / "model.onnx").stat().st_size
    assert manifest.image_size == 8


def test_weights_in_the_full_range_are_refused_where_their_sums_overflow(make_artifact, images, monkeypatch):
    full_range = make_artifact(precision="int8", details=RuntimeDetails(reduce_range=False))
    for vnni in (True, None):
        monkeypatch.setattr("mlkdc.runtime.model.vnni", lambda vnni=vnni: vnni)
        assert open_artifact(full_range).predict(images).shape == (7, 3)
    monkeypatch.setattr("mlkdc.runtime.model.vnni", lambda: False)
    with pytest.raises(UsageError, match=r"overflow on this processor .*; export again with --reduce-range"):
        open_artifact(full_range)
    assert (
        open_artifact(make_artifact(precision="int8", details=RuntimeDetails(reduce_range=True))).predict(images).size
    )


def test_changed_truncated_and_missing_files_are_named(make_artifact):
    path = make_artifact() / "model.onnx"
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UsageError, match=r"model\.onnx was changed since its export"):
        open_artifact(path.parent)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match=r"model\.onnx has \d+ bytes, expected \d+: truncated"):
        open_artifact(path.parent)
    path.unlink()
    with pytest.raises(UsageError, match=r"model\.onnx is missing"):
        open_artifact(path.parent)


def test_failed_export_is_refused_unless_asked_for(make_artifact, images):
    folder = make_artifact(status="failed", parity=Parity(passed=False, reason="mAP differs by 3.1"))
    with pytest.raises(UsageError, match=r"failed export \(mAP differs by 3.1\)"):
        open_artifact(folder)
    assert open_artifact(folder, allow_failed=True).predict(images).shape == (7, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "has format 1, this version of mlkdc reads format 3; export the run again"),
        ({"classes": ["red"]}, "1 classes, 3 thresholds and 3 outputs"),
        ({"color": 1}, "unknown key color"),
        ({"runtime": "onnxruntim"}, "expected runtime onnxruntime, which target onnx has, got 'onnxruntim'"),
        ({"files": {"../model.onnx": {"sha256": "", "size_bytes": 0}}}, "outside its folder"),
        ({"files": {"model.onnx": {}}}, "files.model.onnx.sha256 is missing; files.model.onnx.size_bytes is missing"),
        ({"files": {}}, r"expected one \.onnx file in the manifest, got none; export the run again"),
        ({"files": {"model.txt": {"sha256": "", "size_bytes": 0}}}, r"model\.txt is missing"),
        ({"input": {"name": "image"}}, "input.shape is missing; input.layout is missing"),
        (
            {"input": {"name": "photo", "shape": [1, 3, 8, 8], "layout": "NCHW", "dtype": "float32"}},
            "the manifest says input",
        ),
        ({"output": {"name": "p", "shape": [1, 3], "dtype": "float32"}}, "the manifest says output"),
        ({"dynamic_batch": True}, "'any', 3, 8, 8.*the file has.*1, 3, 8, 8"),
    ],
)
def test_manifest_faults_are_named(make_artifact, change, message):
    """Also where the checksum is right."""
    path = make_artifact() / "manifest.json"
    values = {**json.loads(path.read_text()), **change}
    del values["checksum"]
    path.write_text(json.dumps({**values, "checksum": checksum(values)}))
    with pytest.raises(UsageError, match=message):
        open_artifact(path.parent)


def test_what_is_no_artifact_is_refused(make_artifact, tmp_path):
    with pytest.raises(UsageError, match=r"is not an artifact: it has no manifest\.json"):
        open_artifact(tmp_path / "nowhere")
    path = make_artifact() / "manifest.json"
    values = json.loads(path.read_text())
    del values["classes"], values["merge"]
    path.write_text(json.dumps(values))
    with pytest.raises(UsageError, match="classes is missing; merge is missing"):
        open_artifact(path.parent)
    path.write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        open_artifact(path.parent)
    path.write_text("[]")
    with pytest.raises(UsageError, match="expected a JSON object, got list"):
        open_artifact(path.parent)


def rewrite(folder, **values):
    """Save the manifest with other values."""
    Manifest.load(folder).model_copy(update=values).save(folder)


def test_damaged_model_with_a_matching_checksum_is_a_clear_error(make_artifact):
    folder = make_artifact()
    (folder / "model.onnx").write_bytes(b"no protobuf at all")
    rewrite(folder, files=describe_files(folder, ["model.onnx"]))
    with pytest.raises(UsageError, match=r"ONNX Runtime cannot load .*model\.onnx"):
        open_artifact(folder)


def test_missing_runtime_package_says_what_to_install(make_artifact, monkeypatch):
    folder = make_artifact()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'mlkdc\[onnx-runtime\]'"):
        open_artifact(folder)


def test_provider_that_was_not_asked_for_is_refused(make_artifact, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: ["Other"])
    with pytest.raises(MlkdcError, match="asked ONNX Runtime for CPUExecutionProvider"):
        open_artifact(make_artifact())


def test_threads_reach_the_runtime(make_artifact):
    session = open_artifact(make_artifact(), threads=2)
    options = session._backend._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    with pytest.raises(UsageError, match="at least 1 thread"):
        open_artifact(make_artifact(), threads=0)


def test_wrong_output_shape_is_an_error(make_artifact, images, monkeypatch):
    session = open_artifact(make_artifact())
    monkeypatch.setattr(session, "run", lambda batch: np.zeros((1, 4), dtype=np.float32))
    with pytest.raises(MlkdcError, match=r"shape \(1, 4\), not \(1, 3\)"):
        session.predict(images)


def test_every_registered_runtime_is_a_backend_and_imports_its_package_late():
    backends = dict(RUNTIMES.items())
    assert "onnxruntime" in backends
    for name, backend in backends.items():
        assert issubclass(backend, Backend), name
        assert backend.__module__ == f"mlkdc.runtime.backends.{name}"
