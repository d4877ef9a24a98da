"""A method of another package, found through its entry point: the documented example, installed and trained."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlkdc.recipe import Recipe

DOCUMENT = Path(__file__).parents[2] / "docs" / "own-method.md"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as pip would leave it: the package and its metadata."""
    code, declaration = re.findall(r"```(?:python|toml)\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    name, target = re.findall(r'^([\w-]+) = "(.*)"$', declaration, re.MULTILINE)[0]
    package = tmp_path / "site" / "my_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "soft_margin.py").write_text(code)
    metadata = tmp_path / "site" / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[mlkdc.methods]\n{name} = {target}\n")
    return tmp_path / "site"


def mlkdc(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", "from mlkdc.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_documented_class_is_listed_and_trained(site: Path, tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    listed = mlkdc(site, "ls", "methods")
    assert re.search(r"soft-margin +teacher\.logits .*bce=1 soft-margin=10.*Doe et al., 2026", listed.stdout), listed
    recipe = tiny(distill={"method": "vanilla"})
    (tmp_path / "own.yaml").write_text(recipe.to_yaml())
    settings = ["distill.method=soft-margin", "distill.options.soft-margin.margin=2", "train.epochs=1"]
    extra = [part for setting in settings for part in ("--set", setting)]
    done = mlkdc(site, "distill", "--recipe", str(tmp_path / "own.yaml"), "--out", str(tmp_path / "run"), *extra)
    assert done.returncode == 0, done.stderr
    assert '"soft-margin": ' in (tmp_path / "run" / "metrics.jsonl").read_text()
    wrong = mlkdc(site, "validate", str(tmp_path / "own.yaml"), "--set", "distill.method=soft-margn")
    assert wrong.returncode == 2
    assert "did you mean soft-margin" in wrong.stderr


def test_a_name_that_is_taken_is_refused(site: Path) -> None:
    entries = site / "my_package-1.0.dist-info" / "entry_points.txt"
    for taken in ("mld", "rkd"):  # a term and method, a method alone
        entries.write_text(f"[mlkdc.methods]\n{taken} = my_package.soft_margin:SoftMargin\n")
        done = mlkdc(site, "ls", "methods")
        assert done.returncode == 2
        assert "has the name of an existing term or method" in done.stderr


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nowhere", "cannot be imported (ModuleNotFoundError: No module named 'nowhere')"),
        ("SoftMargin = 3", "is not a subclass of mlkdc.losses.Term"),
        ("from mlkdc.losses import Term\nclass SoftMargin(Term): pass", "has no docstring"),
    ],
)
def test_a_broken_package_is_named_in_one_sentence(site: Path, code: str, said: str) -> None:
    (site / "my_package" / "soft_margin.py").write_text(code)
    done = mlkdc(site, "ls", "methods")
    assert done.returncode == 2
    assert "package my-package: the entry point 'soft-margin' of mlkdc.methods" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
