"""What follows from the options of an export, and what is refused before anything is made: needs no converter."""

import dataclasses
import json

import pytest
from torch import nn

from mlkdc.errors import UsageError
from mlkdc.exporting import ExportOptions, artifact, choices, export
from mlkdc.exporting import request as module
from mlkdc.exporting.request import make_request
from mlkdc.records.run import Run
from mlkdc.runtime import targets
from mlkdc.runtime.targets import load_target, target_names


@pytest.fixture(scope="module")
def run(make_run, wrap):
    return make_run(wrap(nn.Conv2d(3, 8, 3), channels=8))


@pytest.fixture(autouse=True)
def everything_is_installed(monkeypatch):
    monkeypatch.setattr(targets, "find_spec", lambda name: name)
    monkeypatch.setattr(targets.cuda, "available", lambda: True)


def test_what_is_left_open_is_filled_in(run, tmp_path):
    request = make_request(run, ExportOptions(target="openvino"))
    assert (request.target.name, request.precision) == ("openvino", "fp32")
    assert request.folder == run.path / "export" / "openvino-fp32"
    assert (request.dynamic, request.input_dtype, request.equalize) == (False, "float32", None)
    request = make_request(run, ExportOptions(target="onnx", precision="int8", out=tmp_path, equalize=True))
    assert (request.precision, request.folder, request.equalize) == ("int8", tmp_path, True)


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
        export(run, **arguments)


def test_a_missing_package_is_reported_with_the_line_that_installs_it(run, monkeypatch):
    monkeypatch.setattr(targets, "find_spec", lambda name: None if name == "onnxslim" else name)
    with pytest.raises(UsageError, match=r"needs onnxslim, not installed; run: pip install 'mlkdc\[onnx\]'"):
        export(run, "onnx")


def test_no_image_to_compare_on_is_said_before_anything_is_loaded(run, tmp_path):
    recipe = run.recipe.model_copy(deep=True)
    recipe.data.path = str(tmp_path / "gone")
    alone = Run(tmp_path / "run")
    alone.start(recipe, run.classes, "")
    with pytest.raises(UsageError, match=r"gone, the data of .* keeps no images .*--data PATH; .*--skip-parity"):
        make_request(alone, ExportOptions(target="onnx"))
    with pytest.raises(UsageError, match=r"--data .*nowhere: no such file or folder"):
        make_request(alone, ExportOptions(target="onnx", data=str(tmp_path / "nowhere")))
    make_request(alone, ExportOptions(target="onnx", skip_parity=True))
    make_request(alone, ExportOptions(target="onnx", data=str(tmp_path)))


def test_a_folder_of_something_else_is_not_replaced(run, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(UsageError, match="is not an artifact and is not replaced"):
        export(run, "onnx", out=tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    with pytest.raises(UsageError, match="File name too long; name another folder with --out"):
        export(run, "onnx", out=tmp_path / ("a" * 300))


def test_what_a_user_laid_next_to_an_artifact_is_not_removed(run, tmp_path):
    mapping = {"format": 1, "runtime": "x", "classes": [], "files": {"model.onnx": "", "a.mlpackage/Data/model": ""}}
    for name in ("model.onnx", "README.md", ".DS_Store", "a.mlpackage"):
        (tmp_path / name).touch()
    (tmp_path / "manifest.json").write_text(json.dumps(mapping))
    options = ExportOptions(target="onnx", out=tmp_path, skip_parity=True)
    make_request(run, options)
    (tmp_path / "predictions.csv").write_text("mine")
    with pytest.raises(UsageError, match=r"holds predictions\.csv, which no export wrote .*--out"):
        make_request(run, options)
    (tmp_path / "manifest.json").write_text(json.dumps({**mapping, "files": 3}))
    with pytest.raises(UsageError, match=r"holds a\.mlpackage, model\.onnx, predictions\.csv, which"):
        make_request(run, options)


@pytest.mark.parametrize("target", [name for name in target_names() if not load_target(name).dynamic])
def test_a_dynamic_batch_is_refused_where_the_target_cannot(target, run):
    with pytest.raises(UsageError, match="takes one image at a time; omit --dynamic"):
        export(run, target, dynamic=True)


@pytest.mark.parametrize("target", [name for name in target_names() if "uint8" not in load_target(name).dtypes])
def test_pixels_as_bytes_are_refused_where_the_target_cannot(target, run, tmp_path):
    with pytest.raises(UsageError, match=f"{target} takes pixels as float32 only, got uint8; omit --uint8"):
        export(run, target, input_dtype="uint8", out=tmp_path / "bytes")
    assert not list(tmp_path.iterdir())


def test_the_allowed_loss_is_the_callers_then_the_recipes_then_the_targets(run, monkeypatch):
    def allowed(precision="int8", **options):
        tolerance = make_request(run, ExportOptions(target="openvino", precision=precision, **options)).tolerance
        return tolerance.map_drop_points, tolerance.class_drop_points

    assert allowed() == (0.5, 5)
    monkeypatch.setattr(run.recipe.export, "max_drop", 0.25)
    assert allowed() == (0.25, 5)
    assert allowed(max_map_drop_points=1, max_class_drop_points=9) == (1, 9)
    assert allowed("fp16") == (0.2, 2)
    assert allowed("fp16", max_map_drop_points=1) == (1, 2)


@pytest.mark.parametrize("name", ["max_map_drop_points", "max_class_drop_points"])
@pytest.mark.parametrize("drop", [100.5, -0.1, float("inf"), float("nan")])
def test_a_drop_that_no_artifact_could_record_is_refused(run, name, drop):
    with pytest.raises(UsageError, match=r"^expected 0 to 100 percentage points .*_drop_points: .*, got "):
        make_request(run, ExportOptions(target="onnx", precision="int8", **{name: drop}))


def test_half_of_the_range_is_the_callers_then_the_recipes_then_the_targets(run, monkeypatch):
    def reduced(**options):
        return make_request(run, ExportOptions(target="onnx", precision="int8", **options)).reduce_range

    monkeypatch.setattr(targets, "vnni", lambda: None)  # an Arm processor
    assert reduced()
    assert not reduced(reduce_range=False)
    monkeypatch.setattr(run.recipe.export, "reduce_range", False)
    assert not reduced()
    assert reduced(reduce_range=True)
    spec = load_target("onnx").model_copy(update={"reduce_range": False})
    monkeypatch.setattr(module, "load_target", lambda name: spec)
    assert not reduced(reduce_range=True)


def test_the_librarys_export_takes_what_the_command_takes(run, monkeypatch):
    requested = []
    monkeypatch.setattr(artifact, "export_artifact", lambda run, options, say: requested.append(options))
    given = {"precision": "int8", "dynamic": True, "equalize": True, "reduce_range": False, "fast": True}
    given |= {"data": "photos", "opset": 20, "skip_parity": True, "qat_epochs": 2}
    export(run, "onnx", input_dtype="uint8", max_drop=1, max_class_drop=2, out=run.path, **given)
    expected = {**given, "target": "onnx", "input_dtype": "uint8", "out": run.path}
    expected |= {"max_map_drop_points": 1, "max_class_drop_points": 2}
    assert dataclasses.asdict(requested[0]) == expected


def test_choices_are_pairs_of_a_target_and_a_precision_that_it_has():
    assert choices(["onnx"], []) == [("onnx", "fp32")]
    assert choices(["onnx", "coreml", "onnx"], []) == [("onnx", "fp32"), ("coreml", "fp16")]
    assert choices(["ncnn"], ["all"]) == [("ncnn", "fp32"), ("ncnn", "fp16")]
    assert choices(["coreml", "onnx"], ["int8", "fp16"]) == [("coreml", "fp16"), ("onnx", "int8")]
    every = choices(["all"], ["all"])
    assert set(every) == {(name, precision) for name in target_names() for precision in load_target(name).precisions}
    with pytest.raises(UsageError, match="target onnx has no precision 'int4'"):
        choices(["onnx"], ["int4"])
    with pytest.raises(UsageError, match=r"none of onnx, ncnn has precision 'int4'; see `mlkdc ls targets`"):
        choices(["onnx", "ncnn"], ["int4"])


def test_an_opset_is_that_of_the_target_unless_it_is_chosen(run):
    assert make_request(run, ExportOptions(target="onnx")).target.opset == load_target("onnx").opset
    assert make_request(run, ExportOptions(target="onnx", opset=18)).target.opset == 18
    with pytest.raises(UsageError, match="target litert has no ONNX opset to choose; omit --opset"):
        make_request(run, ExportOptions(target="litert", opset=18))


def test_int8_without_images_is_refused(run):
    with pytest.raises(UsageError, match="onnx-int8 is calibrated on the run's images"):
        make_request(run, ExportOptions(target="onnx", precision="int8", skip_parity=True))
    assert make_request(run, ExportOptions(target="onnx", skip_parity=True)).skip_parity
