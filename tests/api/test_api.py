"""What a program calls: offered lazily, documented with examples that run."""

import ast
import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import mlkdc

FUNCTIONS = [name for name in mlkdc.__all__ if name != "__version__"]
ROOT = Path(__file__).parents[2]


def test_importing_the_package_loads_nothing_and_dir_lists_all() -> None:
    code = (
        "import sys, mlkdc\n"
        "print(sorted({'torch', 'numpy', 'pydantic', 'timm', 'yaml'} & set(sys.modules)), sorted(dir(mlkdc)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[] {sorted(mlkdc.__all__)}"
    assert (ROOT / "mlkdc" / "py.typed").is_file()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_there_also_after_its_module_was_imported(name: str) -> None:
    function = getattr(mlkdc, name)
    assert callable(function)
    importlib.import_module(function.__module__)
    assert getattr(mlkdc, name) is function
    with pytest.raises(AttributeError, match="has no attribute 'distil'"):
        mlkdc.distil  # noqa: B018


def test_what_type_checkers_see_is_what_is_offered() -> None:
    """The imports under TYPE_CHECKING and the table of homes name the same functions."""
    tree = ast.parse((ROOT / "mlkdc" / "__init__.py").read_text())
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {}
    for node in checked.body:
        assert isinstance(node, ast.ImportFrom)
        imported |= {alias.name: node.module for alias in node.names}
    assert imported == mlkdc._HOMES


@pytest.mark.converter
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_examples_run(name: str, finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder with ``photos/`` and the finished run ``runs/photos``."""
    pytest.importorskip("onnxslim")
    monkeypatch.chdir(finished_run.parent.parent)
    function = getattr(mlkdc, name)
    (test,) = [test for test in doctest.DocTestFinder(recurse=False).find(function, name, globs={}) if test.examples]
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test).failed == 0
