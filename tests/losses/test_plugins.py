"""Methods and sources of another package, found through entry points: the documented ones, installed and trained."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mlkdc.recipe import Recipe

pytestmark = pytest.mark.slow

DOCUMENT = Path(__file__).parents[2] / "docs" / "own-method.md"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as pip would leave it: the package and its metadata."""
    text = DOCUMENT.read_text(encoding="utf-8")
    package = tmp_path / "site" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        name = re.match(r'"""my_package/(\w+\.py)"""', code)
        assert name
        (package / name[1]).write_text(code)
    declarations = "\n".join(re.findall(r"```toml\n(.*?)```", text, re.DOTALL))
    groups: dict[str, list[str]] = {}
    for group, lines in re.findall(r'\[project\.entry-points\."(.+?)"\]\n((?:.+\n)+)', declarations):
        groups.setdefault(group, []).extend(lines.replace('"', "").splitlines())
    metadata = tmp_path / "site" / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    declare(tmp_path / "site", groups)
    return tmp_path / "site"


def declare(site: Path, groups: dict[str, list[str]]) -> None:
    """Make these the entry points of the package."""
    sections = [f"[{group}]\n" + "\n".join(lines) + "\n" for group, lines in groups.items()]
    (site / "my_package-1.0.dist-info" / "entry_points.txt").write_text("\n".join(sections))


def python(site: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "300"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def mlkdc(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(site, "from mlkdc.cli import main; main()", *arguments)


def settings(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


@pytest.mark.slow
def test_the_documented_term_is_listed_and_trained(site: Path, tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    listed = mlkdc(site, "ls", "methods", "--long")
    assert re.search(r"soft-margin +yes .*bce=1 soft-margin=10.*Doe et al., 2026", listed.stdout), listed
    assert re.search(r"mean-teacher +no .*bce=1 mean-teacher=1", listed.stdout), listed
    recipe = tiny(distill={"method": "vanilla"})
    path = tmp_path / "own.yaml"
    path.write_text(recipe.to_yaml())
    changes = settings("distill.method=soft-margin", "distill.options.soft-margin.margin=2", "train.epochs=1")
    done = mlkdc(site, "distill", "--recipe", str(path), "--out", str(tmp_path / "run"), *changes)
    assert done.returncode == 0, done.stderr
    assert '"soft-margin": ' in (tmp_path / "run" / "metrics.jsonl").read_text()
    misspelled = mlkdc(site, "validate", str(path), *settings("distill.method=soft-margn"))
    assert misspelled.returncode == 2
    assert "did you mean soft-margin" in misspelled.stderr
    changes = settings("distill.method=soft-margin", "distill.options.soft-margin.margin=0")
    impossible = mlkdc(site, "validate", str(path), *changes)
    assert impossible.returncode == 2
    sentence = "distill.options.soft-margin.margin: expected a finite number above 0, got 0"
    assert sentence in DOCUMENT.read_text(encoding="utf-8")
    assert sentence in impossible.stderr


@pytest.mark.slow
def test_the_documented_source_is_trained_and_resumed(site: Path, tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    recipe = tiny(distill={"method": "vanilla"}, teacher=None)
    (tmp_path / "own.yaml").write_text(recipe.to_yaml())
    changes = settings("distill.method=mean-teacher", "distill.terms.mean-teacher=3")
    run = tmp_path / "run"
    done = mlkdc(site, "distill", "--recipe", str(tmp_path / "own.yaml"), "--out", str(run), *changes)
    assert done.returncode == 0, done.stderr
    first, _ = (run / "metrics.jsonl").read_text().splitlines()
    assert '"mean-teacher": ' in first
    weights = load_file(run / "model.safetensors")
    (run / "results.json").unlink()  # as if it had been stopped right before
    again = mlkdc(site, "distill", "--resume", str(run))
    assert again.returncode == 0, again.stderr
    for name, tensor in load_file(run / "model.safetensors").items():
        assert torch.equal(tensor, weights[name])


@pytest.mark.parametrize(
    ("group", "name", "target", "said"),
    [
        ("mlkdc.methods", "mld", "soft_margin:SoftMargin", "has the name of an existing term or method"),
        ("mlkdc.methods", "rkd", "soft_margin:SoftMargin", "has the name of an existing term or method"),
        ("mlkdc.sources", "teacher", "average:Average", "has the name of an existing source"),
        ("mlkdc.sources", "student", "average:Average", "has the name of an existing source"),
        ("mlkdc.sources", "wrong", "soft_margin:SoftMargin", "is not a subclass of mlkdc.train.sources.Source"),
    ],
)
def test_a_wrong_entry_is_refused(site: Path, group: str, name: str, target: str, said: str) -> None:
    entries = {"mlkdc.methods": ["mean-teacher = my_package.average:MeanTeacher"]}
    entries.setdefault(group, []).append(f"{name} = my_package.{target}")
    declare(site, entries)
    if group == "mlkdc.methods":
        done = mlkdc(site, "ls", "methods")
        assert done.returncode == 2
    else:  # sources are needed by a training only
        done = python(site, "from mlkdc.train.sources import SOURCES; SOURCES.names()")
    assert f"package my-package: the entry point {name!r} of {group}" in done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nowhere", "cannot be imported (ModuleNotFoundError: No module named 'nowhere')"),
        ("SoftMargin = 3", "is not a subclass of mlkdc.losses.Term"),
        ("from mlkdc.losses import Term\nclass SoftMargin(Term): pass", "has no docstring"),
        ("from mlkdc.losses import Term\nclass SoftMargin(Term): 'One.'", "does not define compute"),
    ],
)
def test_a_broken_package_is_named_in_one_sentence(site: Path, code: str, said: str) -> None:
    (site / "my_package" / "soft_margin.py").write_text(code)
    done = mlkdc(site, "ls", "methods")
    assert done.returncode == 2
    assert "package my-package: the entry point 'soft-margin' of mlkdc.methods" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fault_is_reported_again_by_the_next_use(site: Path) -> None:
    target = "my_package.average:MeanTeacher"
    declare(site, {"mlkdc.methods": [f"a-mean = {target}", f"rkd = {target}"]})
    code = """
from mlkdc.losses import TERMS
for _ in range(2):
    try:
        TERMS.names()
    except Exception as error:
        print(error)
"""
    first, second = python(site, code).stdout.splitlines()
    assert first == second
    assert "entry point 'rkd'" in first
