"""An artifact folder as a stranger may receive it, taken out of its run: edited, damaged, mixed up.

Whoever edited the manifest has also computed its checksum again, so that each fault is found for what it is.
"""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from samples import write_photos

from mlkdc.bench import artifact_rows
from mlkdc.cli import cli
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.manifest import describe_files
from mlkdc.records.metadata import metadata
from mlkdc.records.preparation import Preparation
from mlkdc.runtime.backends.openvino import load_openvino

onnx = pytest.importorskip("onnx")
MODEL, MANIFEST = "model.onnx", "manifest.json"


def with_checksum(values):
    values = {key: value for key, value in values.items() if key != "checksum"}
    return {**values, "checksum": hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()}


def edited(path, *keys, value):
    """Set a value of the manifest; of a key that ``keys`` lead to."""
    values = json.loads(path.read_text())
    inner = values
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(with_checksum(values)))


def edit(*keys, value):
    return lambda folder: edited(folder / MANIFEST, *keys, value=value)


def manifest_bytes(change):
    return lambda folder: (folder / MANIFEST).write_bytes(change((folder / MANIFEST).read_bytes()))


def model_bytes(change, *, recorded):
    """Change the model; with its size and SHA-256 in the manifest, or not."""

    def do(folder):
        content = change((folder / MODEL).read_bytes())
        (folder / MODEL).write_bytes(content)
        if recorded:
            file = {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
            edited(folder / MANIFEST, "files", value={MODEL: file})

    return do


def replaced(make):
    def do(folder):
        (folder / MODEL).unlink()
        make(folder / MODEL)

    return do


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]


def without_checksum(content):
    values = json.loads(content)
    del values["checksum"]
    return json.dumps({**values, "format": 2}).encode()


def weights_not_listed(folder):
    """The same model in OpenVINO's format, its weights changed, in a file that the manifest does not list."""
    pytest.importorskip("openvino")
    openvino = load_openvino()
    openvino.save_model(openvino.convert_model(folder / MODEL), folder / "model.xml")
    weights = folder / "model.bin"
    weights.write_bytes(flipped(weights.read_bytes()))
    listed = describe_files(folder, ["model.xml"])["model.xml"].model_dump()
    for key, value in (("target", "openvino"), ("runtime", "openvino"), ("files", {"model.xml": listed})):
        edited(folder / MANIFEST, key, value=value)


def in_a_run(classes):
    """The artifact among a run's exports, and the run's classes.txt has these bytes; a link is where it was."""

    def do(folder):
        exports = folder.parent / "run" / "export"
        exports.mkdir(parents=True)
        (exports.parent / "classes.txt").write_bytes(classes)
        folder.rename(exports / folder.name)
        folder.symlink_to(exports / folder.name)

    return do


DAMAGES = {
    "reversed classes": (edit("classes", value=["blue", "green", "red"]), "entry 1 of classes is"),
    "a class twice": (edit("classes", value=["red", "red", "blue"]), "got red more than once"),
    "an empty class": (edit("classes", value=["red", "", "blue"]), "got an empty one"),
    "a class of two lines": (edit("classes", value=["red", "a\nb", "blue"]), "one with a line break"),
    "classes that are numbers": (edit("classes", value=[1, 2, 3]), "classes.0: input should be a valid string"),
    "other thresholds": (edit("thresholds", value=[0.5, 0.1, 0.5]), "entry 2 of thresholds is 0.1 in the manifest"),
    "a threshold of NaN": (edit("thresholds", value=[0.5, float("nan"), 0.5]), "thresholds.1: input should be a valid"),
    "a threshold above 1": (edit("thresholds", value=[0.5, 1.5, 0.5]), "thresholds.1: input should be less than"),
    "a threshold below 0": (edit("thresholds", value=[-0.5, 0.5, 0.5]), "thresholds.0: input should be greater"),
    "a threshold without bound": (edit("thresholds", value=[1e999, 0.5, 0.5]), "thresholds.0: input should be a valid"),
    "a threshold as text": (edit("thresholds", value=["0.5", 0.5, 0.5]), "thresholds.0: input should be a valid num"),
    "too few thresholds": (edit("thresholds", value=[0.5]), "3 classes, 1 thresholds and 3 outputs"),
    "another layout": (edit("input", "layout", value="NHWC"), "in layout NHWC have shape"),
    "an unknown layout": (edit("input", "layout", value="CHWN"), "should be 'NCHW' or 'NHWC', got 'CHWN'"),
    "another size": (edit("preprocess", "size", value=9), "images of size 9"),
    "a huge size": (edit("preprocess", "size", value=10**30), "images of size 1000000"),
    "another fit": (edit("preprocess", "fit", value="crop"), 'input.fit is "crop" in the manifest and "stretch" in'),
    "another dtype": (edit("input", "dtype", value="uint8"), "the manifest says input"),
    "an unknown dtype": (edit("input", "dtype", value="int8"), "should be 'float32' or 'uint8', got 'int8'"),
    "another input": (edit("input", "name", value="photo"), "the manifest says input ('photo'"),
    "another output": (edit("output", "name", value="scores"), "the manifest says output ('scores'"),
    "a batch of two": (edit("input", "shape", value=[2, 3, 8, 8]), "the input has (2, 3, 8, 8)"),
    "an output of five": (edit("output", "shape", value=[5, 3]), "expected an output for one image"),
    "any batch": (edit("dynamic_batch", value=True), "'any', 3, 8, 8"),
    "an unknown status": (edit("status", value="great"), "status: input should be 'ok', 'failed' or 'unverified'"),
    "ok, and not compared": (edit("parity", "passed", value=None), "was not passed"),
    "an unknown key": (edit("input", "color", value="RGB"), "unknown key input.color"),
    "another format": (edit("format", value=99), "has format 99"),
    "an older format, so as to need no checksum": (manifest_bytes(without_checksum), "has format 2"),
    "another runtime": (edit("runtime", value="openvino"), "expected runtime onnxruntime, which target onnx has"),
    "an unknown target": (edit("target", value="nonesuch"), "unknown target 'nonesuch'"),
    "an unknown precision": (edit("precision", value="fp64"), "target onnx has no precision 'fp64'"),
    "no files": (edit("files", value={}), "expected one .onnx file in the manifest, got none"),
    "weights not listed": (weights_not_listed, "expected one .bin file in the manifest, got none"),
    "a file elsewhere": (edit("files", value={"/etc/hosts": {"sha256": "", "size_bytes": 1}}), "outside its folder"),
    "not JSON": (manifest_bytes(lambda content: b"{classes"), "is not JSON"),
    "empty": (manifest_bytes(lambda content: b""), "is not JSON"),
    "half": (manifest_bytes(lambda content: content[: len(content) // 2]), "is not JSON"),
    "UTF-16": (manifest_bytes(lambda content: content.decode().encode("utf-16")), "is not JSON"),
    "a byte order mark": (manifest_bytes(lambda content: b"\xef\xbb\xbf" + content), "is not JSON"),
    "a number of 5,000 digits": (manifest_bytes(lambda content: b'{"format": %s}' % (b"9" * 5000)), "is not JSON"),
    "100,000 brackets": (manifest_bytes(lambda content: b"[" * 100_000), "is not JSON"),
    "a list": (manifest_bytes(lambda content: b"[" + content + b"]"), "expected a JSON object, got list"),
    "a truncated model": (model_bytes(lambda content: content[:-9], recorded=False), "truncated or replaced"),
    "a flipped bit": (model_bytes(flipped, recorded=False), "was changed since its export"),
    "half a model, recorded so": (model_bytes(lambda content: content[:99], recorded=True), "cannot load"),
    "no model, recorded so": (model_bytes(lambda content: b"", recorded=True), "cannot load"),
    "a model that is missing": (replaced(lambda path: None), "is missing"),
    "a model that is a folder": (replaced(Path.mkdir), "is missing"),
    "classes.txt of another run": (in_a_run(b"red\nblue\ngreen\n"), "is an artifact of another run"),
    "classes.txt that is no text": (in_a_run(b"\xff\xferand"), "classes.txt cannot be read ('utf-8' codec"),
    "a link to nowhere": (replaced(lambda path: path.symlink_to("nowhere")), "is missing"),
}


REMEDIES = ("export the run again", "export that run again", "copy the complete run folder")


@pytest.fixture
def received(make_artifact, tmp_path):
    """An artifact that says of itself what it is, outside of any run."""
    folder = shutil.copytree(make_artifact(), tmp_path / "received" / "onnx-fp32")
    model = onnx.load(folder / MODEL)
    texts = metadata(("red", "green", "blue"), (0.5, 0.5, 0.5), Preparation(size=8), ("image", "probabilities"))
    onnx.helper.set_model_props(model, texts)
    model_bytes(lambda content: model.SerializeToString(), recorded=True)(folder)
    return folder


@pytest.fixture
def home(tmp_path):
    return write_photos(tmp_path / "data", count=10)


def run(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments)])


def test_without_damage_it_is_used(received, home):
    assert run("predict", home / "images/000.png", "--model", received).exit_code == 0
    assert run("evaluate", received, "--data", home).exit_code == 0
    # A link to the same bytes, and other line endings, are no damage.
    (received / MODEL).rename(received.parent / "real.onnx")
    (received / MODEL).symlink_to("../real.onnx")
    manifest_bytes(lambda content: content.replace(b"\n", b"\r\n"))(received)
    assert run("predict", home / "images/000.png", "--model", received).exit_code == 0


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_artifact_is_refused_with_one_sentence(damage, received, home):
    spoil, message = DAMAGES[damage]
    spoil(received)
    for arguments in (
        ("predict", home / "images/000.png", "--model", received),
        ("evaluate", received, "--data", home),
    ):
        done = run(*arguments)
        assert isinstance(done.exception, UsageError), (done.output, done.exception)
        sentence = str(done.exception)
        assert message in sentence
        assert "\n" not in sentence
        assert any(remedy in sentence for remedy in REMEDIES)
        assert done.stdout == ""


def refusal(folder):
    """What is said of an artifact that is to be timed, before it is sent to a device."""
    try:
        (row,) = artifact_rows([folder])
    except UsageError as error:
        return str(error)
    return row.skipped


# What only the runtime can tell, or the file itself; said where it is timed.
BY_THE_FILE = ("entry", "input.fit", "the manifest says", "cannot load", "'any'", "expected one .")


@pytest.mark.parametrize("damage", [name for name in DAMAGES if not DAMAGES[name][1].startswith(BY_THE_FILE)])
def test_a_damaged_artifact_is_not_timed(damage, received):
    spoil, message = DAMAGES[damage]
    spoil(received)
    assert message in refusal(received)


@pytest.mark.parametrize("damage", ["reversed classes", "another dtype", "half a model, recorded so"])
def test_what_only_the_file_tells_is_told_where_it_is_timed(damage, received, tmp_path):
    spoil, message = DAMAGES[damage]
    spoil(received)
    out = tmp_path / "figures.json"
    done = run("bench", received, "--passes", 1, "--threads", 1, "--seconds", 0.2, "--out", out)
    assert isinstance(done.exception, MlkdcError)
    assert str(done.exception) == "nothing could be timed"
    assert message in json.loads(out.read_text())["rows"][0]["skipped"]


def test_a_folder_without_manifest_is_no_artifact(received, home):
    (received / MANIFEST).unlink()
    for arguments in (
        ("predict", home / "images/000.png", "--model", received),
        ("evaluate", received),
        ("bench", received),
    ):
        done = run(*arguments)
        assert isinstance(done.exception, UsageError)
        assert "is not a" in str(done.exception)
    os.symlink(MANIFEST, received / MANIFEST)
    assert isinstance(run("predict", home / "images/000.png", "--model", received).exception, UsageError)


@pytest.mark.parametrize(("value", "said"), [(np.nan, "gives NaN or infinity"), (1.25, r"gives 1.25..1.25 where")])
def test_answers_that_are_no_probabilities_are_no_labels(value, said, received, home):
    from onnx import TensorProto, numpy_helper

    def constant(content):
        model = onnx.load_from_string(content)
        answer = numpy_helper.from_array(np.full((1, 3), value, np.float32), "answer")
        del model.graph.node[:]
        model.graph.node.extend(
            [
                onnx.helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
                onnx.helper.make_node("ReduceMean", ["pixels", "axes_of_an_image"], ["mean"], keepdims=0),
                onnx.helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
                onnx.helper.make_node("Add", ["nothing", "answer"], ["probabilities"]),
            ]
        )
        zero = numpy_helper.from_array(np.float32(0), "zero")
        axes = numpy_helper.from_array(np.array([1, 2, 3]), "axes_of_an_image")
        model.graph.initializer.extend([answer, zero, axes])
        return model.SerializeToString()

    model_bytes(constant, recorded=True)(received)
    for arguments in (
        ("predict", home / "images/000.png", "--model", received),
        ("evaluate", received, "--data", home),
    ):
        done = run(*arguments)
        assert isinstance(done.exception, MlkdcError), done.output
        assert done.exception.exit_code == 1
        assert said in str(done.exception)
