"""The command line as a user meets it: processes, exit codes, messages."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from mlkdc.cli import cli, main
from mlkdc.commands.doctor import TargetState, check_machine, import_failure
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.exporting import ExportOptions
from mlkdc.recipe import Recipe
from mlkdc.records.manifest import Manifest
from mlkdc.runtime.targets import target_names


def mlkdc(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from mlkdc.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@dataclass
class Done:
    """What a command left behind."""

    returncode: int | str | None
    stdout: str
    stderr: str


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Run a command in this process, in a fresh folder: loading torch again for each would take minutes."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["mlkdc", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        return Done(left.value.code, *capsys.readouterr())

    return call


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    """Seconds of imports would be spent before the first word: which are loaded is the same on every machine."""
    heavy = ("torch", "timm", "numpy", "pydantic", "yaml", "rich", "jinja2", "PIL")
    code = f"import sys, mlkdc, mlkdc.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.strip() == "[]", done.stderr
    assert mlkdc("--help", cwd=tmp_path).returncode == 0


def test_python_m_is_the_same_command(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "mlkdc", "--version"], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == CliRunner().invoke(cli, ["--version"]).output


@pytest.mark.parametrize("kind", ["recipes", "targets", "methods", "models", "layouts"])
def test_ls(kind: str) -> None:
    done = CliRunner().invoke(cli, ["ls", kind])
    assert done.exit_code == 0, done.output
    expected = {"recipes": "quickstart", "targets": "onnx", "methods": "l2d", "models": "repvgg_a0", "layouts": "coco"}
    assert expected[kind] in done.output
    assert max(map(len, done.output.splitlines())) <= 80
    longer = CliRunner().invoke(cli, ["ls", kind, "--long"])
    assert longer.exit_code == 0
    assert len(longer.output) >= len(done.stdout)


def test_ls_filters_by_name() -> None:
    rows = CliRunner().invoke(cli, ["ls", "models", "mobilenetv2_"]).stdout.splitlines()[2:]
    assert "mobilenetv2_100" in {row.split()[0] for row in rows}
    assert all("mobilenetv2_" in row for row in rows)
    paper = CliRunner().invoke(cli, ["ls", "recipes", "l2d-table1/"]).stdout.splitlines()[2:]
    assert {row.split()[0].rpartition("/")[0] for row in paper} == {"paper/l2d-table1"}


@pytest.mark.slow
def test_doctor_says_what_is_ready() -> None:
    done = CliRunner().invoke(cli, ["doctor", "--json"])
    found = json.loads(done.output)
    states = {state["target"]: state for state in found["targets"]}
    assert set(states) == set(target_names())
    assert found["machine"]["cores"] >= 1
    assert found["training"] == "ready"
    assert states["onnx"]["run"] == "ready"
    assert all(state["precisions"] and state["export"] for state in states.values())


def test_doctor_names_what_is_missing_and_what_cannot_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is imported is tried by the test above; here, what is said of it."""
    monkeypatch.setattr("mlkdc.runtime.backends.onnxruntime.OnnxRuntime.cannot_run", lambda: "needs luck")
    imported: list[list[str]] = []

    def states(*missing: str, broken: str = "") -> dict[str, TargetState]:
        def find(name: str) -> object:
            return None if name in missing else name

        def imports(modules: list[str]) -> str | None:
            imported.append(modules)
            return f"broken: no module {broken}" if broken in modules else None

        monkeypatch.setattr("mlkdc.runtime.targets.find_spec", find)
        return {state.target: state for state in check_machine(imports).targets}

    onnx = states("onnxslim")["onnx"]
    assert (onnx.export, onnx.run) == ("missing onnxslim", "no: needs luck")
    assert onnx.install == "pip install 'mlkdc[onnx]'"
    onnx = states()["onnx"]
    assert (onnx.export, onnx.run, onnx.install) == ("ready", "no: needs luck", "")
    assert onnx.versions["onnxruntime"] == version("onnxruntime")
    assert ["onnx", "onnxruntime", "onnxscript", "onnxslim"] in imported
    ncnn = states("ncnn")["ncnn"]
    assert (ncnn.export, ncnn.run) == ("missing ncnn", "missing ncnn")
    assert ncnn.install == "pip install 'mlkdc[ncnn-runtime]' (to run), pip install 'mlkdc[ncnn]' (to export)"
    # TensorRT itself does nothing without a GPU; TensorRT-RTX builds engines.
    monkeypatch.setattr("mlkdc.runtime.cuda.available", lambda: False)
    assert states("tensorrt_rtx")["tensorrt"].export == "missing tensorrt-rtx"
    # What is there and cannot be imported is not ready.
    monkeypatch.setattr("mlkdc.runtime.cuda.available", lambda: True)
    broken = states("tensorrt_rtx", broken="tensorrt")["tensorrt"]
    assert broken.export == "broken: no module tensorrt"
    assert "pip install 'mlkdc[tensorrt]'" in broken.install


def test_an_import_that_fails_is_reported() -> None:
    assert import_failure(["json", "csv"]) is None
    assert import_failure(["no_such_module"]) == "broken: ModuleNotFoundError: No module named 'no_such_module'"


def test_cp_then_validate_then_a_fault(tmp_path: Path, here: Callable[..., Done]) -> None:
    copied = CliRunner().invoke(cli, ["cp", "l2d-repvgg", str(tmp_path)])
    path = tmp_path / "l2d-repvgg.yaml"
    assert copied.output.strip() == str(path)
    valid = CliRunner().invoke(cli, ["validate", str(path)])
    assert valid.exit_code == 0, valid.output
    path.write_text(path.read_text().replace("epochs", "epoch"))
    done = here("validate", str(path))
    assert done.returncode == 2
    assert "train.epoch: unknown key; did you mean epochs" in done.stderr
    assert "Traceback" not in done.stderr
    again = here("cp", "l2d-repvgg", str(path))
    assert again.returncode == 2


def test_wrong_commands_say_what_to_try(tmp_path: Path, here: Callable[..., Done]) -> None:
    cases = {
        ("distil",): "No such command",
        ("distill",): "--recipe",
        ("distill", "--recipe", "l2d-moblenet"): "did you mean l2d-mobilenet",
        ("distill", "--recipe", "quickstart", "--data", "nowhere"): "nowhere",
        ("evaluate",): "mlkdc distill",
        ("export", "nowhere"): "not a run folder",
        ("export", "nowhere", "--max-drop", "200"): "200.0 is not in the range 0<=x<=100",
        ("export", "nowhere", "--max-drop", "nan"): "expected a finite number, got 'nan'",
        ("export", "nowhere", "--max-class-drop", "inf"): "inf is not in the range 0<=x<=100",
        ("predict", "nowhere.jpg", "--model", "nowhere"): "not an artifact",
        ("data", "nowhere"): "nowhere",
    }
    for arguments, expected in cases.items():
        done = here(*arguments)
        assert done.returncode == 2, (arguments, done.stderr)
        assert expected in done.stderr, (arguments, done.stderr)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_shipped_recipe_without_weights_says_which_file_to_supply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As written in the issue of every offline user: `mlkdc distill --recipe l2d-mobilenet`, no network."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    done = mlkdc("distill", "--recipe", "l2d-mobilenet", "--set", "data.digits_images=100", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "model.safetensors" in done.stderr
    assert re.search(r"(teacher|student)\.weights=none", done.stderr)


@pytest.mark.converter
@pytest.mark.slow
def test_the_whole_day(
    tiny: Callable[..., Recipe],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    here: Callable[..., Done],
) -> None:
    """run, then every later command on the run it made, without naming it."""
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump(tiny().model_dump()))
    done = mlkdc("run", "--recipe", str(recipe), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "student onnx-fp32" in done.stdout
    assert "report.html" in done.stdout
    run = tmp_path / "runs" / "tiny"
    for name in (
        "recipe.yaml",
        "results.json",
        "bench.json",
        "report.html",
        "report.md",
        "export/onnx-fp32/model.onnx",
    ):
        assert (run / name).is_file()
    bench = json.loads((run / "bench.json").read_text())
    assert {row["name"] for row in bench["rows"]} == {"torch eager", "onnx-fp32"}
    assert all(row["timing"]["median_ms"] > 0 and row["timing"]["runs"] >= 200 for row in bench["rows"])

    monkeypatch.chdir(tmp_path)
    evaluated = CliRunner().invoke(cli, ["evaluate", "--json"])
    scores = json.loads(evaluated.stdout)
    assert scores["metrics"]["mAP"] == pytest.approx(json.loads((run / "results.json").read_text())["metrics"]["mAP"])
    assert "the newest" in evaluated.stderr

    predicted = CliRunner().invoke(cli, ["predict", str(photos / "images"), "--json", "--top", "3"])
    lines = [json.loads(line) for line in predicted.stdout.splitlines()]
    assert len(lines) == 48
    assert all(set(line["labels"]) == {"red", "green", "blue"} for line in lines)

    artifact = str(run / "export" / "onnx-fp32")
    through = json.loads(CliRunner().invoke(cli, ["evaluate", artifact, "--json"]).stdout)
    assert through["scored_on"] == scores["scored_on"]
    assert through["thresholds"] == scores["thresholds"]
    assert through["metrics"] == pytest.approx(scores["metrics"], abs=1e-3)
    elsewhere = json.loads(CliRunner().invoke(cli, ["evaluate", artifact, "--data", str(photos), "--json"]).stdout)
    assert elsewhere["metrics"].keys() == through["metrics"].keys()
    assert sum(item["positives"] for item in elsewhere["per_class"]) >= sum(
        i["positives"] for i in through["per_class"]
    )
    _refusals(here, photos, Path(artifact), tmp_path)

    shown = CliRunner().invoke(cli, ["data", str(photos)])
    assert "images: train 30, val 9, test 9" in shown.output


def test_a_finished_run_goes_on_where_its_data_has_moved(
    here: Callable[..., Done], finished_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    photos = finished_run.parent.parent / "photos"
    recipe = (run / "recipe.yaml").read_text().replace(str(photos), str(tmp_path / "gone"))
    (run / "recipe.yaml").write_text(recipe.replace("seconds: 3.0", "seconds: 0.01"))

    def compared_on_kept_images() -> bool:
        comparison = Manifest.load(run / "export" / "onnx-fp32").parity.comparison
        assert comparison is not None
        return comparison.kept

    without = here("run", "--resume", str(run))
    assert without.returncode == 0, without.stderr
    assert compared_on_kept_images()
    assert "next:   mlkdc evaluate" in without.stdout, "no image is there to predict"
    moved = here("run", "--resume", str(run), "--data", str(photos))
    assert moved.returncode == 0, moved.stderr
    assert not compared_on_kept_images()
    # What it says to type next works.
    predict, evaluate = re.findall(r"mlkdc ((?:predict|evaluate) .*)", moved.stdout)
    assert here(*predict.split()).returncode == here(*evaluate.split()).returncode == 0


def _refusals(here: Callable[..., Done], photos: Path, artifact: Path, tmp_path: Path) -> None:
    """An artifact away from its run, and one that failed its check."""
    image = str(next((photos / "images").iterdir()))
    alone = shutil.copytree(artifact, tmp_path / "alone")
    lost = here("evaluate", str(alone))
    assert (lost.returncode, "say which images to score it on: --data" in lost.stderr) == (2, True)
    others = here("evaluate", str(alone), "--data", "digits")
    assert (others.returncode, "has 3 labels" in others.stderr) == (2, True)
    run = here("evaluate", str(artifact.parent.parent), "--allow-failed")
    assert (run.returncode, "is a run, which has no parity check" in run.stderr) == (2, True)

    manifest = Manifest.load(alone)
    parity = manifest.parity.model_copy(update={"reason": "made up"})
    manifest.model_copy(update={"status": "failed", "parity": parity}).save(alone)
    for command in (("predict", image, "--model", str(alone)), ("evaluate", str(alone), "--data", str(photos))):
        refused = here(*command)
        assert refused.returncode == 2
        assert "failed export (made up) and is not used without --allow-failed" in refused.stderr
        assert here(*command, "--allow-failed").returncode == 0
    # Labels at or above their thresholds, and no other.
    named = here("predict", image, "--model", str(alone), "--allow-failed").stdout
    every = here("predict", image, "--model", str(alone), "--allow-failed", "--json", "--top", "3").stdout
    probabilities = json.loads(every)["labels"]
    thresholds = dict(zip(manifest.classes, manifest.thresholds, strict=True))
    assert set(re.findall(r"[a-z]+(?= [01]\.\d{3})", named)) == {
        name for name, probability in probabilities.items() if probability >= thresholds[name]
    }


def test_several_exports_continue_where_one_cannot_be_made(
    here: Callable[..., Done], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    requested: list[ExportOptions] = []

    def export_several(
        run: object, options: list[ExportOptions], *, say: object
    ) -> Iterator[tuple[ExportOptions, Path | MlkdcError]]:
        for choice in options:
            requested.append(choice)
            if choice.target == "ncnn":
                yield choice, UsageError("target ncnn needs pnnx")
            elif choice.precision == "int8":
                yield choice, MlkdcError("mAP drops")
            else:
                yield choice, tmp_path / choice.target

    def pairs() -> list[tuple[str, str]]:
        return [(choice.target, choice.precision) for choice in requested]

    monkeypatch.setattr("mlkdc.exporting.export_several", export_several)
    monkeypatch.setattr("mlkdc.cli.artifacts.pick_run", lambda folder: None)
    monkeypatch.setattr("mlkdc.exporting.request.check_images", lambda run, options: None)
    monkeypatch.setattr("mlkdc.records.manifest.Manifest.load", lambda folder: None)
    monkeypatch.setattr("mlkdc.commands.describe.artifact_lines", lambda manifest: ["parity: ok"])

    one = here("export", "--target", "onnx", "--target", "ncnn")
    assert one.returncode == 0
    assert pairs() == [("onnx", "fp32"), ("ncnn", "fp32")]
    assert one.stdout.splitlines() == [
        "parity: ok",
        str(tmp_path / "onnx"),
        "ncnn-fp32: skipped: target ncnn needs pnnx",
    ]
    assert requested[0] == ExportOptions(target="onnx", precision="fp32")
    limits = ("--max-drop", "0.25", "--max-class-drop", "7")
    here(
        "export", "--uint8", "--dynamic", "--equalize", "--no-reduce-range", "--qat-epochs", "2", *limits, "--out", "x"
    )
    assert requested[-1] == ExportOptions(
        target="onnx",
        precision="fp32",
        dynamic=True,
        input_dtype="uint8",
        max_map_drop_points=0.25,
        max_class_drop_points=7.0,
        equalize=True,
        reduce_range=False,
        qat_epochs=2,
        out=Path("x"),
    )
    failed = here("export", "--target", "onnx", "--precision", "all")
    assert failed.returncode == 1
    assert "onnx-int8: failed: mAP drops" in failed.stdout
    assert "1 of 2 exports failed or were skipped" in failed.stderr
    twice = here("export", "--target", "onnx", "--target", "openvino", "--precision", "fp32", "--precision", "int9")
    assert "has precision 'int9'" in twice.stderr
    alone = here("export", "--target", "ncnn")
    assert (alone.returncode, "needs pnnx" in alone.stderr) == (2, True)
    requested.clear()
    here("export", "--target", "all", "--precision", "int8")
    assert requested
    assert {choice.precision for choice in requested} == {"int8"}
    assert here("export", "--target", "all", "--out", "x").returncode == 2
    wrong = here("export", "--target", "onnx", "--precision", "int4")
    assert "target onnx has no precision 'int4'" in wrong.stderr


def test_main_turns_errors_into_exit_codes(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for error, code in ((MlkdcError("parity"), 1), (KeyboardInterrupt(), 130)):

        def fail(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(cli, "main", fail)
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == code
    assert "error: parity" in capsys.readouterr().err
