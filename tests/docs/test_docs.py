"""What the documents say is what the files beside them say."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from mlkdc.cli import cli
from mlkdc.methods import method_names
from mlkdc.recipe import shipped_recipes
from mlkdc.runtime.targets import target_names

ROOT = Path(__file__).parents[2]


def load(name: str) -> object:
    sys.path.insert(0, str(ROOT / "benchmarks"))  # as when it is run as a script
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_results_are_rendered_from_the_json() -> None:
    render = load("render")
    assert render.document() == (ROOT / "docs" / "results.md").read_text()  # type: ignore[attr-defined]


def test_targets_are_rendered_from_their_files_and_the_json() -> None:
    render = load("render_targets")
    assert render.document() == (ROOT / "docs" / "targets.md").read_text()  # type: ignore[attr-defined]


def test_the_readme_names_every_target() -> None:
    (row,) = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| Targets")]
    assert set(re.findall(r"`([\w-]+)`", row)) == set(target_names())


def test_quickstart_student_is_good_and_not_worse_than_without_its_teacher() -> None:
    """The promise of the README, held against the study that docs/results.md shows."""
    rows = json.loads((ROOT / "benchmarks" / "results" / "quickstart.json").read_text())["rows"]
    by_method = {
        method: [row["metrics"]["mAP"] for row in rows if row["method"] == method] for method in ("l2d", "vanilla")
    }
    assert len(by_method["l2d"]) == len(by_method["vanilla"]) == 3
    assert min(by_method["l2d"]) > 85
    assert sum(by_method["l2d"]) >= sum(by_method["vanilla"])


def test_the_readme_names_every_method() -> None:
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| Methods")]
    assert set(re.findall(r"`([\w-]+)`", "".join(rows))) == set(method_names())


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_commands_and_recipes_in_the_documents_exist(path: Path) -> None:
    text = path.read_text()
    for command in re.findall(r"(?:^|`|then: )mlkdc ([a-z]+)(?= |`|$)", text, re.MULTILINE):
        assert command in cli.commands, command
    for recipe in re.findall(r"--recipe ([a-z0-9-]+)(?= |`|$)", text, re.MULTILINE):
        assert recipe in shipped_recipes() or recipe == "my", recipe
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (path.parent / link).exists(), link
