"""What the documents say is what the files next to them say."""

import json
import re
from importlib import import_module
from pathlib import Path

import pytest

from mlkdc.cli import cli
from mlkdc.methods import method_names
from mlkdc.recipe import shipped_recipes
from mlkdc.runtime.targets import target_names

ROOT = Path(__file__).parents[2]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("script", "path"),
    [("render", "docs/methods.md"), ("render_students", "docs/results.md"), ("render_targets", "docs/targets.md")],
)
def test_documents_are_rendered_from_the_json(script: str, path: str) -> None:
    assert import_module(script).document() == read(path)


def test_performance_is_rendered_from_the_json() -> None:
    render = import_module("losses_render")
    study = import_module("losses_records").LossesStudy.load(ROOT / "benchmarks" / "results")
    assert render.document(study) == read("docs/performance.md")


@pytest.mark.parametrize("path", ["docs/methods.md", "docs/results.md", "docs/targets.md", "docs/performance.md"])
def test_no_drop_is_a_negative_zero(path: str) -> None:
    assert not re.search(r"-0(\.0+)?\b(?![.\d])", read(path))


def test_the_readme_has_the_size_that_was_measured_and_no_placeholder() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    study = json.loads((ROOT / "benchmarks" / "results" / "codebase.json").read_text(encoding="utf-8"))
    size = study["figures"]["install"]["environment, MB"]
    assert f"with ONNX Runtime; {round(size, -1):.0f} MB, no torch" in text
    assert not re.findall(r"^[A-Z_]{3,}$", text, re.MULTILINE)


def test_the_readme_has_the_students_that_were_measured() -> None:
    render, readme = import_module("render_students"), " ".join(read("README.md").split())
    assert render.headline("corel5k") in readme
    assert render.headline("coco18") in readme
    study = import_module("study_records").LatencyStudy.load_from(ROOT / "benchmarks" / "results" / "latency.json")
    assert f"{import_module('render').headline(study)}." in readme


def test_the_readme_names_every_target() -> None:
    (row,) = [line for line in read("README.md").splitlines() if line.startswith("| Targets")]
    assert set(re.findall(r"`([\w-]+)`", row)) == set(target_names())


def test_quickstart_student_is_good_and_not_worse_than_without_its_teacher() -> None:
    """The promise of the README, compared with the study that docs/results.md shows."""
    study = import_module("study_records").MethodsStudy.load_from(ROOT / "benchmarks" / "results" / "quickstart.json")
    l2d = [row.map_percent for row in study.rows if row.method == "l2d"]
    vanilla = [row.map_percent for row in study.rows if row.method == "vanilla"]
    assert len(l2d) == len(vanilla) == 3
    assert min(l2d) > 85
    assert sum(l2d) >= sum(vanilla)


def test_the_readme_names_every_method() -> None:
    rows = [line for line in read("README.md").splitlines() if line.startswith("| Methods")]
    assert set(re.findall(r"`([\w-]+)`", "".join(rows))) == set(method_names())


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_commands_and_recipes_in_the_documents_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    # A line of prose may begin with "mlkdc" too.
    in_blocks = "\n".join(text.split("```")[1::2])
    commands = re.findall(r"(?:^|then: )mlkdc ([a-z]+)(?= |$)", in_blocks, re.MULTILINE)
    commands += re.findall(r"`mlkdc ([a-z]+)(?= |`)", text)
    assert commands or "mlkdc " not in text
    for command in commands:
        assert command in cli.commands, command
    for recipe in re.findall(r"--recipe ([a-z0-9/-]+)(?= |`|$)", text, re.MULTILINE):
        assert recipe in shipped_recipes() or recipe == "my", recipe
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (path.parent / link).exists(), link
