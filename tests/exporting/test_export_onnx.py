"""ONNX artifacts, and what every export does: replaces a folder or changes nothing, compares, climbs, falls back."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.exporting import ExportOptions, export, export_several, known, request, stranger
from mlkdc.exporting.formats import EXPORTERS
from mlkdc.exporting.int8 import quantizer
from mlkdc.exporting.int8.guard import Climbed
from mlkdc.exporting.job import Built
from mlkdc.images import load_square
from mlkdc.records.manifest import InputSpec, Manifest, OutputSpec
from mlkdc.records.parity import Calibration, LadderStep, Parity
from mlkdc.runtime import open_artifact, targets

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxslim")
pytestmark = pytest.mark.converter

SIZE = 64
CLASSES = 3
FIRST_STEP = LadderStep(
    step="first", clip=False, correct_biases=False, keep=(), passed=False, reason=None, figures=None
)


@pytest.fixture(scope="module")
def run(make_run, student):
    return make_run(student("shufflenetv2_x0_5"))


@pytest.fixture(scope="module")
def exported(run):
    return export(run, "onnx")


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


def test_the_artifact_is_one_file_that_answers_like_the_model(exported, run, framed_noise):
    assert exported == run.path / "export" / "onnx-fp32"
    assert sorted(path.name for path in exported.iterdir()) == ["README.md", "manifest.json", "model.onnx"]
    assert not leftovers(exported.parent)
    for image in framed_noise:
        with torch.no_grad():
            expected = run.model(image[None]).sigmoid().numpy()
        actual = answers(exported / "model.onnx", image[None].numpy())
        assert actual.shape == (1, CLASSES)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=5e-5)  # answers are up to 0.6 apart


def test_the_manifest_says_all_that_a_caller_needs(exported, run):
    manifest = Manifest.load(exported)
    manifest.verify(exported)
    assert (manifest.status, manifest.target, manifest.runtime, manifest.precision) == (
        "ok",
        "onnx",
        "onnxruntime",
        "fp32",
    )
    assert manifest.classes == run.classes
    assert manifest.input == InputSpec(name="image", shape=(1, 3, SIZE, SIZE), layout="NCHW", dtype="float32")
    assert manifest.output == OutputSpec(name="probabilities", shape=(1, CLASSES))
    assert manifest.recipe_hash == run.recipe.hash()
    assert manifest.merge.normalization
    assert manifest.merge.conv_bn == 56
    assert {"torch", "onnx", "onnxruntime"} <= set(manifest.versions)
    assert manifest.parity.passed
    comparison, figures = manifest.parity.comparison, manifest.parity.figures
    assert (comparison.images, comparison.split, comparison.runtime) == (6, "val", "onnxruntime")
    assert figures.label_flips == 0
    assert 0 < figures.max_probability_difference < 5e-5


def test_the_graph_holds_nothing_that_could_have_been_merged(exported):
    graph = onnx.load(exported / "model.onnx").graph
    kinds = [node.op_type for node in graph.node]
    assert "BatchNormalization" not in kinds
    assert "Div" not in kinds
    assert [node.op_type for node in graph.node if "image" in node.input] == ["Sub"]
    assert not any(node.metadata_props for node in graph.node)


def test_dynamic_batch_of_uint8(make_run, wrap, framed_noise):
    layers = [nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU()]
    run = make_run(wrap(*layers, channels=8))
    folder = export(run, "onnx", dynamic=True, input_dtype="uint8", out=run.path / "elsewhere")
    assert folder == run.path / "elsewhere"
    with torch.no_grad():
        expected = run.model(framed_noise).sigmoid().numpy()
    for count in (1, 3):
        actual = answers(folder / "model.onnx", framed_noise[:count].to(torch.uint8).numpy())
        np.testing.assert_allclose(actual, expected[:count], rtol=0, atol=1e-5)
    manifest = Manifest.load(folder)
    assert manifest.dynamic_batch
    assert manifest.input.dtype == "uint8"


def test_other_answers_are_a_failed_export(exported, run, tmp_path, writes):
    def spoil(model):
        for weights in model.graph.initializer:
            if len(weights.dims) == 4:
                values = onnx.numpy_helper.to_array(weights) * 1.5
                weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))

    writes(spoil)
    folder = tmp_path / "spoiled"
    with pytest.raises(MlkdcError, match="is marked as failed: largest probability difference") as caught:
        export(run, "onnx", out=folder)
    assert caught.value.exit_code == 1
    assert str(folder) in str(caught.value)
    manifest = Manifest.load(folder)
    assert manifest.status == "failed"
    assert manifest.parity.reason in str(caught.value)
    with pytest.raises(UsageError, match="largest probability difference"):
        open_artifact(folder)
    with open_artifact(folder, allow_failed=True) as session:
        assert session.manifest.parity.figures.max_probability_difference > 1e-4


def test_an_artifact_is_replaced_only_by_a_whole_one(exported, run, tmp_path, writes):
    folder = shutil.copytree(exported, tmp_path / "onnx-fp32")
    first = Manifest.load(folder)

    def rename(model):
        model.graph.input[0].name = "photo"  # nothing takes it: the runtime refuses the graph

    writes(rename)
    with pytest.raises(MlkdcError, match="the exported model does not run: ONNX Runtime cannot load"):
        export(run, "onnx", out=folder)
    assert Manifest.load(folder) == first
    first.verify(folder)
    assert not leftovers(tmp_path)

    writes(lambda model: setattr(model, "producer_name", "second"))
    export(run, "onnx", out=folder)
    assert Manifest.load(folder).files != first.files
    assert not leftovers(tmp_path)


@pytest.fixture
def attempts(monkeypatch, exported):
    """Export int8 with an exporter that writes the float graph, and see the settings of its jobs."""
    settings = []

    def exporter(job):
        settings.append(job.quantization)
        shutil.copy(exported / "model.onnx", job.folder)
        return Built(["model.onnx"])

    monkeypatch.setattr(EXPORTERS, "get", lambda name: exporter)
    return settings


def test_int8_is_calibrated_on_training_images_the_same_each_time(run, attempts, tmp_path, monkeypatch):
    monkeypatch.setattr(run.recipe.export, "calibration", 4)
    folders = [export(run, "onnx", precision="int8", out=tmp_path / name) for name in ("a", "b")]
    first, second = (how.images for how in attempts)
    assert np.array_equal(first, second)
    train = [load_square(sample.image, SIZE).transpose(2, 0, 1) for sample in run.data.split("train")]
    assert len(first) == 4
    assert all(any(np.array_equal(image, square) for square in train) for image in first)
    report = Manifest.load(folders[0]).quantization
    assert report.calibration == Calibration(images=4, split="train", seed=0)
    assert [step.passed for step in report.steps] == [True]


def test_int8_out_of_tolerance_climbs_and_the_least_loss_is_kept_as_failed(run, attempts, monkeypatch, tmp_path):
    drops = iter([0.9, 0.8, 0.7, 0.6, 0.5, 0.6, 0.7])
    monkeypatch.setattr(quantizer.Simulation, "change", lambda _, how: 1 - how.correct_biases / 100)
    real = stranger.compare

    def worse(*arguments):
        comparison = real(*arguments).comparison
        figures = comparison.figures.model_copy(update={"map_drop_points": next(drops)})
        comparison = comparison.model_copy(update={"figures": figures})
        return Parity(passed=False, reason="made worse", comparison=comparison)

    monkeypatch.setattr(stranger, "compare", worse)
    lines = []
    with pytest.raises(MlkdcError, match=r"failed: made worse; for Arm, .* --no-reduce-range may lose less; ship fp32"):
        export(run, "onnx", precision="int8", out=tmp_path / "int8", say=lines.append)
    manifest = Manifest.load(tmp_path / "int8")
    assert manifest.status == "failed"
    steps = manifest.quantization.steps
    assert [step.figures.map_drop_points for step in steps] == [0.9, 0.8, 0.7, 0.6, 0.5, 0.6, 0.7]
    assert all("not enough" in line for line in lines if "int8," in line)
    # The fifth lost least.
    assert manifest.quantization.chosen == steps[4].step
    assert attempts[4].keep == steps[4].keep
    assert attempts[4].correct_biases
    assert len(attempts) == 7


def test_int8_that_fails_gives_way_to_fp16_where_there_is_one(run, attempts, monkeypatch, tmp_path):
    spec = targets.load_target("onnx")
    both = {**spec.precisions, "fp16": spec.precisions["fp32"]}
    monkeypatch.setattr(request, "load_target", lambda name: spec.model_copy(update={"precisions": both}))

    def give_up(ladder):
        ladder.build(ladder.first)
        return Climbed(ladder.first, FIRST_STEP.step, (FIRST_STEP,), ())

    def only_fp16_passes(*arguments):
        return real(*arguments).model_copy(update={"passed": attempts[-1] is None, "reason": "worse"})

    real = stranger.compare
    monkeypatch.setattr(quantizer, "climb", give_up)
    monkeypatch.setattr(stranger, "compare", only_fp16_passes)
    lines = []
    folder = export(run, "onnx", precision="int8", max_drop=0.05, out=tmp_path / "small", say=lines.append)
    assert folder == tmp_path / "small-fp16"
    assert Manifest.load(folder).precision == "fp16"
    assert Manifest.load(folder).parity.comparison.tolerance.map_drop_points == 0.05
    assert Manifest.load(tmp_path / "small").status == "failed"
    assert "fp16 instead" in lines[-1]


def test_int8_without_training_images_is_refused(run, attempts):
    images = run.data
    run.data = dataclasses.replace(images, samples=images.split("val"))
    try:
        with pytest.raises(UsageError, match="no training image to calibrate int8 on"):
            export(run, "onnx", precision="int8")
    finally:
        run.data = images


def test_half_of_the_range_is_the_callers_then_the_recipes_then_the_targets(run, attempts, tmp_path, monkeypatch):
    def reduced(target="onnx", **options):
        folder = export(run, target, precision="int8", out=tmp_path / "int8", **options)
        return attempts[-1].reduce_range, Manifest.load(folder).details.reduce_range

    monkeypatch.setattr(targets, "vnni", lambda: None)  # an Arm processor; what it would answer is not compared here
    monkeypatch.setattr(stranger, "answers_of", lambda *_: np.full((6, CLASSES), 0.5, dtype=np.float32))
    monkeypatch.setattr(stranger, "compare", lambda *_: Parity(passed=True))
    assert reduced() == (True, True)
    assert reduced(reduce_range=False) == (False, False)
    monkeypatch.setattr(run.recipe.export, "reduce_range", False)
    assert reduced() == (False, False)
    assert reduced(reduce_range=True) == (True, True)
    spec = targets.load_target("onnx")
    monkeypatch.setattr(request, "load_target", lambda name: spec.model_copy(update={"reduce_range": False}))
    assert reduced(reduce_range=True) == (False, None)


def test_the_full_range_is_refused_on_a_processor_whose_sums_overflow(run, monkeypatch, tmp_path):
    monkeypatch.setattr(targets, "vnni", lambda: False)
    with pytest.raises(UsageError, match=r"has no VNNI: their sums overflow; export with --reduce-range"):
        export(run, "onnx", precision="int8", reduce_range=False, out=tmp_path / "new")
    assert not list(tmp_path.iterdir())
    assert Manifest.load(export(run, "onnx", reduce_range=False, out=tmp_path / "fp32")).status == "ok"


def test_several_artifacts_are_compared_with_one_set_of_answers(run, writes, monkeypatch):
    def counted(*arguments):
        references.append(real(*arguments))
        return references[-1]

    references, lines, real = [], [], known.make_reference
    monkeypatch.setattr(known, "make_reference", counted)
    writes(lambda model: None)
    options = [ExportOptions(target="onnx"), ExportOptions(target="onnx", precision="fp32")]
    results = list(export_several(run, options, say=lines.append))
    assert [option for option, _ in results] == options
    assert [Manifest.load(folder).parity.passed for _, folder in results] == [True, True]
    assert len(references) == 1
    assert [line for line in lines if "exporting" in line] == ["exporting to onnx, fp32"] * 2


def test_one_export_that_cannot_be_made_does_not_stop_the_others(run, writes):
    writes(lambda model: None)
    options = [ExportOptions(target="onnx", precision="fp99"), ExportOptions(target="onnx")]
    (_, error), (_, folder) = export_several(run, options, say=lambda text: None)
    assert isinstance(error, UsageError)
    assert Manifest.load(folder).status == "ok"


def test_an_opset_that_the_exporter_lacks_is_reported(run, monkeypatch):
    spec = targets.load_target("onnx").model_copy(update={"opset": 99})
    monkeypatch.setattr(request, "load_target", lambda name: spec)
    with pytest.raises(UsageError, match="opset 99"):
        export(run, "onnx")


def test_an_opset_that_is_chosen_is_written_or_refused(run, tmp_path):
    folder = export(run, "onnx", opset=18, out=tmp_path / "18")
    versions = {entry.domain: entry.version for entry in onnx.load(folder / "model.onnx").opset_import}
    assert versions[""] == 18
    with pytest.raises(UsageError, match=r"torch\.onnx cannot write opset 13: it wrote"):
        export(run, "onnx", opset=13, out=tmp_path / "13")
    assert not (tmp_path / "13").exists()


def test_an_opset_that_the_runtime_lacks_is_reported(run, writes, tmp_path):
    writes(lambda model: setattr(model.opset_import[0], "version", 999))
    with pytest.raises(MlkdcError, match=r"the exported model does not run: ONNX Runtime cannot load .*999"):
        export(run, "onnx", out=tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_what_a_library_raises_becomes_one_sentence(run, monkeypatch, tmp_path):
    for raised, kind, message in (
        (KeyError("layer"), MlkdcError, r"could not export to onnx \(KeyError: 'layer'\)"),
        (ImportError("libx.so: no such file"), UsageError, r"libx.so: no such file; to reinstall it: pip install"),
    ):

        def exporter(job, raised=raised):
            raise raised

        monkeypatch.setattr(EXPORTERS, "get", lambda name, exporter=exporter: exporter)
        with pytest.raises(kind, match=message):
            export(run, "onnx", out=tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_equalizing_is_done_on_request_and_announced(make_run, student, monkeypatch, tmp_path):
    run, seen = make_run(student("repvgg_a0")), []

    def exporter(job):
        seen.append([layer.weight.detach().clone() for layer in job.model.modules() if isinstance(layer, nn.Conv2d)])
        raise MlkdcError("seen")

    monkeypatch.setattr(EXPORTERS, "get", lambda name: exporter)
    lines = []
    for equalize in (False, True, None):  # None: where branches were merged, as here
        with pytest.raises(MlkdcError, match="seen"):
            export(run, "onnx", precision="int8", equalize=equalize, out=tmp_path / "new", say=lines.append)
    plain, evened, by_default = seen
    assert all(torch.equal(one, other) for one, other in zip(evened, by_default, strict=True))
    assert sum(not torch.equal(before, after) for before, after in zip(plain, evened, strict=True)) > 10
    assert any("equalized" in line for line in lines)
