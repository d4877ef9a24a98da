import dataclasses
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
from mlkdc.exporting import artifact as exporting
from mlkdc.exporting import export_run, export_several, targets
from mlkdc.exporting.formats import EXPORTERS, Built
from mlkdc.images import load_square
from mlkdc.runtime import Manifest, open_artifact

SIZE = 64
CLASSES = 3
FIRST_STEP = {"keep": [], "clip": False, "correct": False}


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
            return Built(["model.onnx"])

        monkeypatch.setattr(EXPORTERS, "get", lambda name: exporter)

    return use


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def answers(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [node.name for node in session.get_inputs()] == ["image"]
    assert [node.name for node in session.get_outputs()] == ["probabilities"]
    return session.run(None, {"image": images})[0]


def test_the_artifact_is_one_file_that_answers_like_the_model(exported, run, pictures):
    assert exported == run.path / "export" / "onnx-fp32"
    assert sorted(path.name for path in exported.iterdir()) == ["manifest.json", "model.onnx"]
    assert not leftovers(exported.parent)
    for picture in pictures:
        with torch.no_grad():
            expected = run.model()(picture[None]).sigmoid().numpy()
        found = answers(exported / "model.onnx", picture[None].numpy())
        assert found.shape == (1, CLASSES)
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-5)  # answers are up to 0.6 apart


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
    assert manifest.input == {"name": "image", "shape": [1, 3, SIZE, SIZE], "layout": "NCHW", "dtype": "float32"}
    assert manifest.output == {"name": "probabilities", "shape": [1, CLASSES], "dtype": "float32"}
    assert manifest.recipe_hash == run.recipe.hash()
    assert manifest.merge["normalization"]
    assert manifest.merge["conv_bn"] == 56
    assert {"torch", "onnx", "onnxruntime"} <= set(manifest.versions)
    parity = manifest.parity
    assert (parity["images"], parity["split"], parity["passed"], parity["label_flips"]) == (6, "val", True, 0)
    assert 0 < parity["max_probability_difference"] < 5e-5


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
        open_artifact(folder)
    with open_artifact(folder, allow_failed=True) as session:
        assert session.manifest.parity["max_probability_difference"] > 1e-4


def test_an_artifact_is_replaced_only_by_a_whole_one(exported, run, tmp_path, writes):
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
    monkeypatch.setattr(targets, "find_spec", lambda name: None if name == "onnxslim" else name)
    with pytest.raises(UsageError, match=r"needs onnxslim, not installed; run: pip install 'mlkdc\[onnx\]'"):
        export_run(run, "onnx")


def test_a_folder_of_something_else_is_not_replaced(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(UsageError, match="is not an artifact and is not replaced"):
        export_run(run, "onnx", out=tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.fixture
def attempts(monkeypatch, exported):
    """Export int8 with an exporter that writes the float graph, and see the settings it was asked for."""
    asked = []

    def exporter(job):
        asked.append(job.quantization)
        shutil.copy(exported / "model.onnx", job.folder)
        return Built(["model.onnx"])

    monkeypatch.setattr(EXPORTERS, "get", lambda name: exporter)
    return asked


def test_int8_is_calibrated_on_training_pictures_the_same_each_time(run, attempts, tmp_path, monkeypatch):
    monkeypatch.setattr(run.recipe.export, "calibration", 4)
    folders = [export_run(run, "onnx", precision="int8", out=tmp_path / name) for name in ("a", "b")]
    first, second = (how.images for how in attempts)
    assert np.array_equal(first, second)
    train = [load_square(sample.image, SIZE).transpose(2, 0, 1) for sample in run.images.split("train")]
    assert len(first) == 4
    assert all(any(np.array_equal(image, each) for each in train) for image in first)
    found = Manifest.load(folders[0]).quantization
    assert found["calibration"] == {"images": 4, "split": "train", "seed": 0}
    assert [step["passed"] for step in found["steps"]] == [True]


def test_int8_out_of_tolerance_climbs_and_the_least_loss_is_kept_as_failed(run, attempts, monkeypatch, tmp_path):
    falls = iter([5.0, 4.0, 3.5, 3.0, 1.0, 2.0, 2.0, 1.0])
    real = exporting.compare

    def worse(*arguments):
        figures = real(*arguments)
        return {**figures, "mAP_drop": next(falls), "passed": False, "reason": "made worse"}

    monkeypatch.setattr(exporting, "compare", worse)
    said = []
    with pytest.raises(MlkdcError, match=r"failed: made worse; for Arm, .* --no-reduce-range may lose less; ship fp32"):
        export_run(run, "onnx", precision="int8", out=tmp_path / "int8", say=said.append)
    manifest = Manifest.load(tmp_path / "int8")
    assert manifest.status == "failed"
    steps = manifest.quantization["steps"]
    assert [step["mAP_drop"] for step in steps] == [5, 4, 3.5, 3, 1, 2, 2]
    assert all("not enough" in line for line in said)
    # The fifth lost least and is built once more.
    assert list(attempts[-1].keep) == steps[4]["keep"] == list(attempts[4].keep)
    assert attempts[-1].correct
    assert len(attempts) == 8


def test_int8_that_fails_gives_way_to_fp16_where_there_is_one(run, attempts, monkeypatch, tmp_path):
    spec = targets.load_target("onnx")
    both = {**spec.precisions, "fp16": spec.precisions["fp32"]}
    monkeypatch.setattr(exporting, "load_target", lambda name: spec.model_copy(update={"precisions": both}))

    def give_up(ladder):
        ladder.build(ladder.first)
        return ladder.first, [FIRST_STEP]

    real = exporting.compare
    monkeypatch.setattr(exporting, "climb", give_up)
    monkeypatch.setattr(
        exporting, "compare", lambda *arguments: {**real(*arguments), "passed": attempts[-1] is None, "reason": "worse"}
    )
    said = []
    folder = export_run(run, "onnx", precision="int8", max_drop=0.05, out=tmp_path / "small", say=said.append)
    assert folder == tmp_path / "small-fp16"
    assert Manifest.load(folder).precision == "fp16"
    assert Manifest.load(folder).parity["tolerance"]["map"] == 0.05
    assert Manifest.load(tmp_path / "small").status == "failed"
    assert "fp16 instead" in said[-1]


def test_int8_without_training_pictures_is_told(run, attempts):
    images = run.images
    run.images = dataclasses.replace(images, samples=images.split("val"))
    try:
        with pytest.raises(UsageError, match="no training image to calibrate int8 on"):
            export_run(run, "onnx", precision="int8")
    finally:
        run.images = images


def test_the_allowed_loss_is_the_callers_then_the_recipes_then_the_targets(run, attempts, tmp_path, monkeypatch):
    def allowed(**options):
        folder = export_run(run, "onnx", precision="int8", out=tmp_path / "int8", **options)
        return [Manifest.load(folder).parity["tolerance"][key] for key in ("map", "class_ap")]

    assert allowed() == [0.5, 5]
    monkeypatch.setattr(run.recipe.export, "max_drop", 0.25)
    assert allowed() == [0.25, 5]
    assert allowed(max_drop=1, max_class_drop=9) == [1, 9]


def test_half_of_the_range_is_the_callers_then_the_recipes_then_the_targets(run, attempts, tmp_path, monkeypatch):
    def asked(target="onnx", **options):
        folder = export_run(run, target, precision="int8", out=tmp_path / "int8", **options)
        return attempts[-1].reduce_range, Manifest.load(folder).details.get("reduce_range")

    monkeypatch.setattr(targets, "vnni", lambda: None)  # an Arm processor; what it would answer is not asked here
    monkeypatch.setattr(exporting, "ask", lambda *_: np.full((6, CLASSES), 0.5, dtype=np.float32))
    monkeypatch.setattr(exporting, "compare", lambda *_: {"passed": True})
    monkeypatch.setattr(exporting, "climb", lambda ladder: (ladder.first, [ladder.build(ladder.first) | FIRST_STEP]))
    assert asked() == (True, True)
    assert asked(reduce_range=False) == (False, False)
    monkeypatch.setattr(run.recipe.export, "reduce_range", False)
    assert asked() == (False, False)
    assert asked(reduce_range=True) == (True, True)
    spec = targets.load_target("onnx")
    monkeypatch.setattr(exporting, "load_target", lambda name: spec.model_copy(update={"reduce_range": False}))
    assert asked(reduce_range=True) == (False, None)


def test_the_whole_range_is_refused_on_a_processor_whose_sums_overflow(run, monkeypatch, tmp_path):
    monkeypatch.setattr(targets, "vnni", lambda: False)
    with pytest.raises(UsageError, match=r"has no VNNI: their sums overflow; export with --reduce-range"):
        export_run(run, "onnx", precision="int8", reduce_range=False, out=tmp_path / "new")
    assert not list(tmp_path.iterdir())
    assert Manifest.load(export_run(run, "onnx", reduce_range=False, out=tmp_path / "fp32")).status == "ok"


def test_several_artifacts_are_compared_with_one_set_of_answers(run, writes, monkeypatch):
    made, real = [], exporting.make_reference
    monkeypatch.setattr(exporting, "make_reference", lambda *given: made.append(real(*given)) or made[-1])
    writes(lambda model: None)
    results = list(export_several(run, [("onnx", "fp32")] * 2, say=lambda text: None))
    assert [Manifest.load(folder).parity["passed"] for _, folder in results] == [True, True]
    assert len(made) == 1


def test_an_opset_that_the_exporter_lacks_is_told(run, monkeypatch):
    spec = targets.load_target("onnx").model_copy(update={"opset": 99})
    monkeypatch.setattr(exporting, "load_target", lambda name: spec)
    with pytest.raises(MlkdcError, match="opset 99"):
        export_run(run, "onnx")


def test_an_opset_that_the_runtime_lacks_is_told(run, writes, tmp_path):
    writes(lambda model: setattr(model.opset_import[0], "version", 999))
    with pytest.raises(MlkdcError, match=r"the exported model does not run: ONNX Runtime cannot load .*999"):
        export_run(run, "onnx", out=tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_what_a_library_raises_becomes_one_sentence(run, monkeypatch, tmp_path):
    for raised, kind, said in (
        (KeyError("layer"), MlkdcError, r"could not export to onnx \(KeyError: 'layer'\)"),
        (ImportError("libx.so: no such file"), UsageError, r"libx.so: no such file; to install it anew: pip install"),
    ):

        def exporter(job, raised=raised):
            raise raised

        monkeypatch.setattr(EXPORTERS, "get", lambda name, exporter=exporter: exporter)
        with pytest.raises(kind, match=said):
            export_run(run, "onnx", out=tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_equalizing_is_done_when_asked_and_recorded(make_run, student, monkeypatch, tmp_path):
    run, seen = make_run(student("repvgg_a0")), []

    def exporter(job):
        seen.append([layer.weight.detach().clone() for layer in job.model.modules() if isinstance(layer, nn.Conv2d)])
        raise MlkdcError("seen")

    monkeypatch.setattr(EXPORTERS, "get", lambda name: exporter)
    said = []
    for equalize in (False, True):
        with pytest.raises(MlkdcError, match="seen"):
            export_run(run, "onnx", precision="int8", equalize=equalize, out=tmp_path / "new", say=said.append)
    plain, evened = seen
    assert sum(not torch.equal(one, two) for one, two in zip(plain, evened, strict=True)) > 10
    assert any("equalized" in line for line in said)
