"""Opening artefacts and predicting, with what a user may have done to the folder in between."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.runtime import Manifest, open_artefact, predict_files
from mlkdc.runtime.base import RUNTIMES, Backend
from mlkdc.runtime.manifest import describe_files


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_predict_is_the_known_mathematics(make_artefact, images, expected, dtype, dynamic):
    folder = make_artefact(dtype=dtype, dynamic=dynamic)
    with open_artefact(folder, threads=1) as session:
        for given in (images, images.astype(np.float32), images.astype(np.float64)):
            found = session.predict(given)
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, expected(images), atol=1e-6)
        assert session.predict(images[:0]).shape == (0, 3)


@pytest.mark.parametrize(("dynamic", "sizes"), [(False, [1] * 40), (True, [32, 8])])
def test_static_artefacts_run_image_by_image_and_dynamic_ones_in_batches(
    make_artefact, expected, dynamic, sizes, monkeypatch
):
    session = open_artefact(make_artefact(dynamic=dynamic))
    given = []
    run = session.run
    monkeypatch.setattr(session, "run", lambda batch: given.append(len(batch)) or run(batch))
    images = np.random.default_rng(1).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8)
    np.testing.assert_allclose(session.predict(images), expected(images), atol=1e-6)
    assert given == sizes


def test_pixels_are_never_rounded_or_reshaped_in_silence(make_artefact, images):
    session = open_artefact(make_artefact(dtype="uint8"))
    for wrong in (images + np.float32(0.5), images - np.float32(256), images * np.float32(2)):
        with pytest.raises(UsageError, match="whole numbers"):
            session.predict(wrong)
    with pytest.raises(UsageError, match=r"shape \[n, 3, 8, 8\], got \(7, 8, 8, 3\)"):
        session.predict(images.transpose(0, 2, 3, 1))
    with pytest.raises(UsageError, match="int64"):
        session.predict(images.astype(np.int64))


def test_predict_files_reads_rgb_in_order(make_artefact, expected, tmp_path):
    colours = [(255, 0, 0), (0, 255, 0), (10, 20, 200)]
    paths = []
    for i, colour in enumerate(colours):
        paths.append(tmp_path / f"{i}.png")
        Image.new("RGB", (30, 17), colour).save(paths[-1])
    pixels = np.array(colours, dtype=np.uint8)[:, :, None, None] * np.ones((1, 1, 8, 8), dtype=np.uint8)
    found = predict_files(open_artefact(make_artefact()), paths)
    np.testing.assert_allclose(found, expected(pixels), atol=1e-6)
    paths[1].write_bytes(b"not a picture")
    with pytest.raises(UsageError, match=r"1\.png: not an image"):
        predict_files(open_artefact(make_artefact()), paths)


def test_manifest_survives_the_round_trip(make_artefact):
    folder = make_artefact(thresholds=[0.1, 0.2, 0.3])
    manifest = Manifest.load(folder)
    before = (folder / "manifest.json").read_text()
    manifest.save(folder)
    assert (folder / "manifest.json").read_text() == before
    assert next(iter(json.loads(before))) == "format"
    assert manifest.size_bytes == (folder / "model.onnx").stat().st_size
    assert manifest.image_size == 8


def test_weights_in_the_whole_range_are_refused_where_their_sums_overflow(make_artefact, images, monkeypatch):
    whole = make_artefact(precision="int8", details={"reduce_range": False})
    for vnni in (True, None):
        monkeypatch.setattr("mlkdc.runtime.session.vnni", lambda vnni=vnni: vnni)
        assert open_artefact(whole).predict(images).shape == (7, 3)
    monkeypatch.setattr("mlkdc.runtime.session.vnni", lambda: False)
    with pytest.raises(UsageError, match=r"overflow on this processor .*; export again with --reduce-range"):
        open_artefact(whole)
    assert open_artefact(make_artefact(precision="int8", details={"reduce_range": True})).predict(images).size


def test_changed_truncated_and_missing_files_are_named(make_artefact):
    path = make_artefact() / "model.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UsageError, match=r"model\.onnx was changed since its export"):
        open_artefact(path.parent)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UsageError, match=r"model\.onnx has \d+ bytes, expected \d+: cut short"):
        open_artefact(path.parent)
    path.unlink()
    with pytest.raises(UsageError, match=r"model\.onnx is missing"):
        open_artefact(path.parent)


def test_failed_export_is_refused_unless_asked_for(make_artefact, images):
    folder = make_artefact(status="failed", parity={"reason": "mAP differs by 3.1"})
    with pytest.raises(UsageError, match=r"failed export \(mAP differs by 3.1\)"):
        open_artefact(folder)
    assert open_artefact(folder, allow_failed=True).predict(images).shape == (7, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "has format 2, this version of mlkdc reads 1"),
        ({"classes": ["red"]}, "1 classes, 3 thresholds and 3 outputs"),
        ({"colour": 1}, "unknown colour"),
        ({"runtime": "onnxruntim"}, "did you mean onnxruntime"),
        ({"files": {"../model.onnx": {"sha256": "", "bytes": 0}}}, "outside its folder"),
        ({"files": {"model.onnx": {}}}, "'model.onnx' lacks one of bytes, sha256"),
        ({"files": {}}, r"expected one \.onnx file"),
        ({"input": {"name": "image"}}, "'input' lacks one of dtype, layout, name, shape"),
        (
            {"input": {"name": "image", "shape": [1, 3, 9, 9], "layout": "NCHW", "dtype": "float32"}},
            "the manifest says input",
        ),
        ({"output": {"name": "p", "shape": [1, 3], "dtype": "float32"}}, "the manifest says output"),
        ({"dynamic_batch": True}, "'any', 3, 8, 8.*the file has.*1, 3, 8, 8"),
    ],
)
def test_manifest_faults_are_told(make_artefact, change, message):
    path = make_artefact() / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError, match=message):
        open_artefact(path.parent)


def test_what_is_no_artefact_is_told(make_artefact, tmp_path):
    with pytest.raises(UsageError, match=r"is not an artefact: it has no manifest\.json"):
        open_artefact(tmp_path / "nowhere")
    path = make_artefact() / "manifest.json"
    values = json.loads(path.read_text())
    del values["classes"], values["merge"]
    path.write_text(json.dumps(values))
    with pytest.raises(UsageError, match="lacks classes, merge"):
        open_artefact(path.parent)
    path.write_text("{")
    with pytest.raises(UsageError, match="is not JSON"):
        open_artefact(path.parent)
    path.write_text("[]")
    with pytest.raises(UsageError, match="format None"):
        open_artefact(path.parent)


def test_damaged_model_with_a_matching_checksum_is_a_clear_error(make_artefact):
    folder = make_artefact()
    (folder / "model.onnx").write_bytes(b"no protobuf at all")
    manifest = Manifest.load(folder)
    manifest.files = describe_files(folder, ["model.onnx"])
    manifest.save(folder)
    with pytest.raises(UsageError, match=r"ONNX Runtime cannot load .*model\.onnx"):
        open_artefact(folder)


def test_missing_runtime_package_says_what_to_install(make_artefact, monkeypatch):
    folder = make_artefact()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"pip install 'mlkdc\[onnx\]'"):
        open_artefact(folder)


def test_provider_that_was_not_asked_for_is_refused(make_artefact, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: ["Other"])
    with pytest.raises(MlkdcError, match="asked ONNX Runtime for CPUExecutionProvider"):
        open_artefact(make_artefact())


def test_threads_reach_the_runtime(make_artefact):
    session = open_artefact(make_artefact(), threads=2)
    options = session._backend._session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    with pytest.raises(UsageError, match="at least 1 thread"):
        open_artefact(make_artefact(), threads=0)


def test_wrong_output_shape_is_an_error(make_artefact, images, monkeypatch):
    session = open_artefact(make_artefact())
    monkeypatch.setattr(session, "run", lambda batch: np.zeros((1, 4), dtype=np.float32))
    with pytest.raises(MlkdcError, match=r"shape \(1, 4\), not \(1, 3\)"):
        session.predict(images)


def test_every_registered_runtime_is_a_backend_and_imports_its_package_late():
    backends = dict(RUNTIMES.items())
    assert "onnxruntime" in backends
    for name, backend in backends.items():
        assert issubclass(backend, Backend), name
        assert backend.__module__ == f"mlkdc.runtime.backends.{name}"
