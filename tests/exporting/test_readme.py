"""An artifact in a stranger's hands: its README's code, run as it stands, gives the torch model's labels."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import phone
import pytest
import torch
from image_files import display_p3, noise
from PIL import Image

from mlkdc.commands.describe import artifact_lines
from mlkdc.exporting import export
from mlkdc.exporting.readme import write_readme
from mlkdc.images import load_square
from mlkdc.records.manifest import Manifest
from mlkdc.records.parity import (
    Calibration,
    Comparison,
    Parity,
    ParityFigures,
    Promise,
    QuantizationReport,
    Tolerance,
)
from mlkdc.records.preparation import RESIZE
from mlkdc.runtime.targets import load_target

pytestmark = [pytest.mark.converter, pytest.mark.timeout(900)]
SIZE = phone.SIZE


@pytest.fixture(scope="module")
def run(make_run):
    run = make_run(phone.make_trained())
    run.thresholds = (0.0, 0.0, 1.0)  # the last label is never given
    return run


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """Wider than high, and stored lying on its side."""
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    pixels = np.random.default_rng(3).integers(0, 256, (5, 9, 3), dtype=np.uint8).repeat(30, 0).repeat(30, 1)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.fixture(scope="module")
def square(tmp_path_factory, photo):
    """The same, as the model's square already: nothing is left to a library's resizing."""
    path = tmp_path_factory.mktemp("square") / "square.png"
    Image.fromarray(load_square(photo, SIZE)).save(path)
    return path


@pytest.fixture(scope="module")
def iphone(tmp_path_factory):
    """A JPEG that is not square, stored lying on its side, with a profile of its own."""
    path = tmp_path_factory.mktemp("iphone") / "photo.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = noise(150, 60).repeat(3, 0).repeat(3, 1)
    Image.fromarray(pixels).save(path, exif=exif, icc_profile=display_p3(), quality=95)
    return path


@pytest.fixture(scope="module")
def node():
    """Skips where Node is not there, or does not find the two packages (NODE_PATH; .ci/run installs them)."""
    needed = "require('onnxruntime-node'); require('sharp')"
    if not shutil.which("node") or subprocess.run(["node", "-e", needed], capture_output=True).returncode:
        pytest.skip("onnxruntime-node and sharp not installed")


@pytest.fixture(scope="module")
def exported(run):
    folders = {}

    def use(target):
        if missing := load_target(target).missing():
            pytest.skip(f"{', '.join(missing)} not installed")
        if target not in folders:
            folders[target] = export(run, target)
        return folders[target]

    return use


def code(folder, language):
    """The block of that language in the folder's README."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return block


def check_labels(printed, run, path, fit="stretch", tolerance=2e-4):
    """Those of the torch model, with its probabilities."""
    with torch.no_grad():
        pixels = torch.from_numpy(load_square(path, SIZE, fit).transpose(2, 0, 1).copy()).float()
        (right,) = run.model(pixels[None]).sigmoid().tolist()
    found = dict(line.split("\t") for line in printed.splitlines())
    assert list(found) == ["cat", "dog"]
    np.testing.assert_allclose([float(found[name]) for name in found], right[:2], rtol=0, atol=tolerance)


def done(command, folder, **environment):
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("target", ["onnx", "openvino", "litert", "executorch", "ncnn"])
def test_the_python_code_gives_the_models_labels(target, exported, run, photo, tmp_path):
    script = tmp_path / "predict.py"
    script.write_text(code(exported(target), "python"), encoding="utf-8")
    check_labels(done([sys.executable, str(script), str(photo)], exported(target)), run, photo)


def test_the_javascript_code_gives_the_models_labels(exported, run, square, node, tmp_path):
    script = tmp_path / "predict.cjs"
    script.write_text(code(exported("onnx"), "js"), encoding="utf-8")
    check_labels(done(["node", str(script), str(square)], exported("onnx")), run, square)


# Of a probability: sharp resizes in its own way, which was seen to move one by 0.004; another fit, an image that lies,
# or its profile moves one by 0.014 or more.
JS_RESIZED = 0.01


@pytest.mark.parametrize("fit", RESIZE)
def test_the_javascript_code_takes_an_ordinary_photo(fit, exported, run, iphone, node, tmp_path):
    folder = shutil.copytree(exported("onnx"), tmp_path / "onnx")
    manifest = Manifest.load(folder)
    manifest = manifest.model_copy(update={"preprocess": manifest.preprocess.model_copy(update={"fit": fit})})
    write_readme(folder, manifest)
    (folder / "predict.cjs").write_text(code(folder, "js"), encoding="utf-8")
    printed = done(["node", "predict.cjs", str(iphone)], folder)
    check_labels(printed, run, iphone, fit, JS_RESIZED)


def openvino_flags():
    """Of the Python package, which brings headers and library."""
    package = Path(importlib.util.find_spec("openvino").origin).parent
    (library,) = (package / "libs").glob("libopenvino.so.*")
    return [f"-I{package / 'include'}", str(library), f"-Wl,-rpath,{library.parent}"]


@pytest.mark.parametrize(
    ("target", "header", "flags"),
    [
        ("openvino", "openvino/openvino.hpp", openvino_flags),
        ("onnx", "onnxruntime_cxx_api.h", lambda: ["-lonnxruntime"]),
        ("ncnn", "ncnn/net.h", lambda: ["-lncnn", "-fopenmp"]),
    ],
)
def test_the_cpp_code_gives_the_models_labels(target, header, flags, exported, run, square, tmp_path):
    """Where a compiler is, and the runtime's headers."""
    folder, source, program = exported(target), tmp_path / "predict.cpp", tmp_path / "predict"
    compiler = shutil.which("g++")
    if not compiler:
        pytest.skip("no g++")
    probe = tmp_path / "probe.cpp"
    probe.write_text(f"#include <{header}>\n")
    if subprocess.run([compiler, "-std=c++17", "-fsyntax-only", probe, *flags()], capture_output=True).returncode:
        pytest.skip(f"no {header}")
    source.write_text(code(folder, "cpp"), encoding="utf-8")
    done([compiler, "-std=c++17", "-O1", str(source), "-o", str(program), *flags()], tmp_path)
    bytes_file = tmp_path / "square.rgb"
    bytes_file.write_bytes(load_square(square, SIZE).tobytes())
    check_labels(done([str(program), str(bytes_file)], folder), run, square)


def test_it_says_what_the_artifact_is_and_takes(exported):
    folder = exported("onnx")
    manifest, text = Manifest.load(folder), (folder / "README.md").read_text(encoding="utf-8")
    for said in (
        f"| size | {manifest.size_bytes / 1e6:.2f} MB |",
        "ok: it answers like the torch model",
        f"| mAP | {manifest.parity.figures.map_artifact_percent:.2f} %",
        "Do not normalize:",
        "upright, by the EXIF tag; RGB, without transparency; color profiles are ignored",
        "64 x 64 pixels: bilinear, antialiased, aspect ratio not kept",
        "float32 in 0..255, NCHW, [1, 3, rows, columns]: all of red",
        "at least (`>=`)",
        "The sigmoid is inside the model",
    ):
        assert said in text


def test_the_files_say_it_themselves(exported, run):
    """Read back by each format's own reader."""

    def check(values):
        assert json.loads(values["classes"]) == list(run.classes)
        assert json.loads(values["thresholds"]) == list(run.thresholds)
        assert json.loads(values["input"])["normalization"] == "inside the model"
        assert json.loads(values["input"])["range"] == "0..255"

    import onnxruntime

    session = onnxruntime.InferenceSession(exported("onnx") / "model.onnx", providers=["CPUExecutionProvider"])
    check(session.get_modelmeta().custom_metadata_map)


def test_openvinos_file_says_it_too(exported, run):
    openvino = pytest.importorskip("openvino")
    model = openvino.Core().read_model(exported("openvino") / "model.xml")
    assert json.loads(model.get_rt_info(["mlkdc", "classes"]).astype(str)) == list(run.classes)
    assert json.loads(model.get_rt_info(["mlkdc", "input"]).astype(str))["size"] == SIZE


def test_tflites_file_says_it_too(exported, run):
    folder = exported("litert")
    from ai_edge_litert.interpreter import Interpreter

    # The interpreter gives no metadata; its bytes are in the file as they are.
    content = (folder / "model.tflite").read_bytes()
    assert b"mlkdc.classes" in content
    assert json.dumps(list(run.classes)).encode() in content
    assert Interpreter(model_content=content).get_signature_list()


def test_weights_behind_a_flatbuffer_stay_where_they_are_looked_for():
    """Larger models are written so: buffers have places in the file instead of their bytes."""
    pytest.importorskip("ai_edge_litert")
    flatbuffers = pytest.importorskip("flatbuffers")
    from ai_edge_litert import schema_py_generated as schema

    from mlkdc.exporting.formats.litert import with_metadata

    model, weights = schema.ModelT(), np.arange(64, dtype=np.uint8).tobytes()
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].offset, model.buffers[1].size = 512, len(weights)
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), b"TFL3")
    content = with_metadata(bytes(builder.Output()).ljust(512, b"\0") + weights, {"classes": '["cat"]' * 100})
    buffer = schema.Model.GetRootAs(content, 0).Buffers(1)
    assert buffer.Offset() % 16 == 0
    assert content[buffer.Offset() : buffer.Offset() + buffer.Size()] == weights


def test_core_mls_package_says_it_too(exported, run):
    coremltools = pytest.importorskip("coremltools")
    model = coremltools.models.MLModel(str(exported("coreml") / "model.mlpackage"), skip_model_load=True)
    assert json.loads(model.user_defined_metadata["classes"]) == list(run.classes)


def test_an_int8_artifacts_ok_is_limited_to_the_images_compared(tmp_path):
    manifest = phone.manifest_of(phone.make_job(phone.make_model(), "onnx", tmp_path), []).model_copy(
        update={"status": "ok"}
    )
    report = QuantizationReport(calibration=Calibration(images=1, split="train", seed=0), equalize=False, steps=())
    for artifact, limited in ((manifest, False), (manifest.quantized(report), True)):
        write_readme(tmp_path, artifact)
        text = (tmp_path / "README.md").read_text(encoding="utf-8")
        assert "ok: it answers like the torch model" in text
        assert ("on other images it may lose more" in text) is limited


@pytest.mark.parametrize(
    ("doubt", "said"),
    [
        (
            None,
            (
                "its limits, also as judged by cross-fitting; no guarantee",
                "the limits hold there too, which is no guarantee |",
            ),
        ),
        (
            "mAP may drop",
            ("on other images it may lose more", "(1.00 to 7.00); a weak promise: mAP may drop |"),
        ),
    ],
)
def test_what_is_promised_of_other_images_is_said(doubt, said, tmp_path):
    figures = ParityFigures(
        map_artifact_percent=40,
        map_drop_points=0.25,
        worst_class="cat",
        worst_class_drop_points=2,
        worst_class_interval_points=(1, 7),
        classes_judged=3,
        max_probability_difference=0.1,
        label_flips=3,
    )
    tolerance = Tolerance(probability=1, label_flips_percent=3, map_drop_points=0.5, class_drop_points=5)
    comparison = Comparison(
        runtime="onnxruntime", images=8, split="val", tolerance=tolerance, map_torch_percent=40.25, figures=figures
    )
    promise = Promise(
        images=(4, 4),
        chosen=("a", "a"),
        figures=figures,
        map_drop_interval_points=(0.1, 0.6),
        firm=doubt is None,
        doubt=doubt,
    )
    calibration = Calibration(images=1, split="train", seed=0)
    report = QuantizationReport(calibration=calibration, equalize=False, steps=(), promise=promise)
    manifest = phone.manifest_of(phone.make_job(phone.make_model(), "onnx", tmp_path), [])
    manifest = manifest.compared(Parity(passed=True, comparison=comparison), "ok").quantized(report)
    write_readme(tmp_path, manifest)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert all(words in text for words in said)
    lost = "mAP drops by 0.25 (0.10 to 0.60), AP of cat drops by 2.00 (1.00 to 7.00)"
    assert f"judged on the other, both ways: {lost}" in text
    # The terminal says the same.
    assert artifact_lines(manifest)[-1] == f"on other images: {promise.sentence()}"
    # One that failed promises nothing.
    failed = manifest.compared(Parity(passed=False, reason="a test", comparison=comparison), "failed")
    write_readme(tmp_path, failed)
    assert "| on other images |" in text
    assert "| on other images |" not in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "on other images:" not in "".join(artifact_lines(failed))
