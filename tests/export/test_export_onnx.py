import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.export import artefact as exporting
from mlkdc.export import export_run
from mlkdc.export.exporters import EXPORTERS
from mlkdc.runtime import Manifest, open_artefact

SIZE = 64
CLASSES = 3


@pytest.fixture(scope="module")
def run(make_run, student):
    return make_run(student("shufflenetv2_x0_5"))


@pytest.fixture(scope="module")
def exported(run):
    return export_run(run, "onnx")


@pytest.fixture
def writes(monkeypatch, exported):
    """Let the exporter write the exported graph again, changed by a function, without exporting."""

    def use(change):
        def exporter(job):
            model = onnx.load(exported / "model.onnx")
            change(model)
            onnx.save(model, job.folder / "model.onnx")
            return ["model.onnx"]

        monkeypatch.setattr(EXPORTERS, "get", lambda name: exporter)

    return use


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def answers(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [node.name for node in session.get_inputs()] == ["image"]
    assert [node.name for node in session.get_outputs()] == ["probabilities"]
    return session.run(None, {"image": images})[0]


def test_the_artefact_is_one_file_that_answers_like_the_model(exported, run, pictures):
    assert exported == run.path / "export" / "onnx-fp32"
    assert sorted(path.name for path in exported.iterdir()) == ["manifest.json", "model.onnx"]
    assert not leftovers(exported.parent)
    for picture in pictures:
        with torch.no_grad():
            expected = run.model()(picture[None]).sigmoid().numpy()
        found = answers(exported / "model.onnx", picture[None].numpy())
        assert found.shape == (1, CLASSES)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_the_manifest_tells_all_that_a_caller_needs(exported, run):
    manifest = Manifest.load(exported)
    manifest.verify(exported)
    assert (manifest.status, manifest.target, manifest.runtime, manifest.precision) == (
        "ok",
        "onnx",
        "onnxruntime",
        "fp32",
    )
    assert manifest.classes == run.classes
    assert manifest.input == {"name": "image", "shape": [1, 3, SIZE, SIZE], "dtype": "float32"}
    assert manifest.output == {"name": "probabilities", "shape": [1, CLASSES], "dtype": "float32"}
    assert manifest.recipe_hash == run.recipe.hash()
    assert manifest.merge["normalization"]
    assert manifest.merge["conv_bn"] == 56
    assert {"torch", "onnx", "onnxruntime"} <= set(manifest.versions)
    parity = manifest.parity
    assert (parity["images"], parity["split"], parity["passed"], parity["label_flips"]) == (6, "val", True, 0)
    assert 0 < parity["max_probability_difference"] < 1e-5


def test_the_graph_holds_nothing_that_could_have_been_merged(exported):
    graph = onnx.load(exported / "model.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert "BatchNormalization" not in kinds
    assert "Div" not in kinds
    assert [node.op_type for node in graph.node if "image" in node.input] == ["Sub"]
    assert not any(node.metadata_props for node in graph.node)


def test_dynamic_batch_of_uint8(make_run, wrap, pictures):
    layers = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    run = make_run(wrap(*layers, channels=8))
    folder = export_run(run, "onnx", dynamic=True, input_dtype="uint8", out=run.path / "elsewhere")
    assert folder == run.path / "elsewhere"
    with torch.no_grad():
        expected = run.model()(pictures).sigmoid().numpy()
    for count in (1, 3):
        found = answers(folder / "model.onnx", pictures[:count].to(torch.uint8).numpy())
        np.testing.assert_allclose(found, expected[:count], rtol=0, atol=1e-5)
    manifest = Manifest.load(folder)
    assert manifest.dynamic_batch
    assert manifest.input["dtype"] == "uint8"


def test_other_answers_are_a_failed_export(exported, run, tmp_path, writes):
    def spoil(model):
        for weights in model.graph.initializer:
            if len(weights.dims) == 4:
                values = onnx.numpy_helper.to_array(weights) * 1.5
                weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))

    writes(spoil)
    folder = tmp_path / "spoilt"
    with pytest.raises(MlkdcError, match="is marked as failed: largest probability difference") as caught:
        export_run(run, "onnx", out=folder)
    assert caught.value.exit_code == 1
    assert str(folder) in str(caught.value)
    manifest = Manifest.load(folder)
    assert manifest.status == "failed"
    assert manifest.parity["reason"] in str(caught.value)
    with pytest.raises(UsageError, match="largest probability difference"):
        open_artefact(folder)
    with open_artefact(folder, allow_failed=True) as session:
        assert session.manifest.parity["max_probability_difference"] > 1e-4


def test_an_artefact_is_replaced_only_by_a_whole_one(exported, run, tmp_path, writes):
    folder = shutil.copytree(exported, tmp_path / "onnx-fp32")
    first = json.loads((folder / "manifest.json").read_text())

    def rename(model):
        model.graph.input[0].name = "picture"  # nothing takes it: the runtime refuses the graph

    writes(rename)
    with pytest.raises(MlkdcError, match="the exported model does not run: ONNX Runtime cannot load"):
        export_run(run, "onnx", out=folder)
    assert json.loads((folder / "manifest.json").read_text()) == first
    Manifest.load(folder).verify(folder)
    assert not leftovers(tmp_path)

    writes(lambda model: setattr(model, "producer_name", "second"))
    export_run(run, "onnx", out=folder)
    assert Manifest.load(folder).files != first["files"]
    assert not leftovers(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "onxx"}, r"unknown target 'onxx'; did you mean onnx\?"),
        ({"target": "onnx", "precision": "fp23"}, r"no precision 'fp23'; did you mean fp32\?"),
        ({"target": "onnx", "input_dtype": "uint9"}, r"unknown input type 'uint9'; did you mean uint8\?"),
    ],
)
def test_what_is_mistyped_is_answered_with_the_nearest(arguments, message, run):
    with pytest.raises(UsageError, match=message):
        export_run(run, **arguments)


def test_a_missing_package_is_told_with_the_line_that_installs_it(run, monkeypatch):
    monkeypatch.setattr(exporting, "find_spec", lambda name: None if name == "onnxslim" else name)
    with pytest.raises(UsageError, match=r"needs onnxslim, not installed; run: pip install 'mlkdc\[onnx\]'"):
        export_run(run, "onnx")


def test_a_folder_of_something_else_is_not_replaced(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="is not an artefact and is not replaced"):
        export_run(run, "onnx", out=tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
