"""A registry is filled on first use, completely or not at all."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest

from mlkdc.errors import UsageError
from mlkdc.registry import Registry

GREEN = "from {package} import COLORS\nCOLORS.register('green')('#0f0')\n"
BROKEN = GREEN.replace("green", "red") + "raise RuntimeError('red paint is out')\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package with two registries and one module, which registers green."""
    folder = tmp_path / f"colors_{uuid4().hex}"
    folder.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a module is changed within a second of its first import
    declared = [
        "from mlkdc.registry import Registry",
        "COLORS = Registry('color', __name__)",
        "SHADES = Registry('shade', __name__)",
    ]
    (folder / "__init__.py").write_text("\n".join(declared) + "\n", encoding="utf-8")
    write(folder, "green", GREEN)
    return folder


def write(package: Path, module: str, text: str) -> None:
    (package / f"{module}.py").write_text(text.replace("{package}", package.name), encoding="utf-8")


def imported(package: Path) -> ModuleType:
    __import__(package.name)
    return sys.modules[package.name]


def colors(package: Path) -> Registry[str]:
    registry: Registry[str] = imported(package).COLORS
    return registry


def test_every_module_is_imported_on_first_use(package: Path) -> None:
    registry = colors(package)
    assert "green" not in registry
    assert registry.names() == ["green"]
    assert registry.get("green") == "#0f0"
    assert list(registry.items()) == [("green", "#0f0")]
    with pytest.raises(UsageError, match="unknown color 'gren'; did you mean green"):
        registry.get("gren")


def test_threads_wait_until_it_is_filled(package: Path) -> None:
    slow = "import time\ntime.sleep(0.3)\nfrom {package} import COLORS\nCOLORS.register('red')('#f00')\n"
    write(package, "red", slow)
    registry = colors(package)
    with ThreadPoolExecutor(4) as pool:
        values = list(pool.map(registry.get, ["red", "green"] * 4))
    assert values == ["#f00", "#0f0"] * 4


def test_a_name_is_registered_once() -> None:
    registry: Registry[str] = Registry("color", "no_such_package")
    registry.register("green")("#0f0")
    with pytest.raises(ValueError, match="color 'green' is registered twice"):
        registry.register("green")("#0f0")


FAIL = "raise RuntimeError('red paint is out')\n"
FAILING = {
    "after registering": BROKEN,
    "before registering": FAIL,
    "after asking for the names": "from {package} import COLORS\nCOLORS.names()\n" + FAIL,
}


@pytest.mark.parametrize("text", FAILING.values(), ids=FAILING)
def test_a_failing_import_fails_again_with_the_same_cause(text: str, package: Path) -> None:
    write(package, "red", text)
    for _ in range(3):
        with pytest.raises(RuntimeError, match="red paint is out"):
            colors(package).names()
    with pytest.raises(RuntimeError, match="red paint is out"):
        colors(package).get("green")


def test_it_is_complete_once_the_cause_is_removed(package: Path) -> None:
    write(package, "red", BROKEN)
    with pytest.raises(RuntimeError, match="red paint is out"):
        colors(package).names()
    write(package, "red", BROKEN.replace("raise", "#"))
    assert colors(package).names() == ["green", "red"]
    with pytest.raises(ValueError, match="registered twice"):
        colors(package).register("red")("#f00")


def test_a_module_that_the_failing_one_imported_is_not_lost(package: Path) -> None:
    write(package, "blue", "import {package}.green\n" + BROKEN.replace("red", "blue"))
    with pytest.raises(RuntimeError, match="blue paint is out"):
        colors(package).names()
    write(package, "blue", GREEN.replace("green", "blue"))
    assert colors(package).names() == ["blue", "green"]
    assert "green" in colors(package)


def test_two_registries_of_one_package_fail_alike(package: Path) -> None:
    shade = "from {package} import SHADES\nSHADES.register('dark')(0.2)\n"
    write(package, "red", shade + BROKEN)
    for registry in (colors(package), imported(package).SHADES, colors(package)):
        with pytest.raises(RuntimeError, match="red paint is out"):
            registry.names()
    write(package, "red", shade + BROKEN.replace("raise", "#"))
    assert colors(package).names() == ["green", "red"]
    assert imported(package).SHADES.names() == ["dark"]


def test_a_registry_that_was_loaded_on_the_way_is_loaded_again(package: Path) -> None:
    shade = "from {package} import SHADES\nSHADES.names()\nSHADES.register('dark')(0.2)\n"
    write(package, "red", shade + BROKEN)
    for registry in (colors(package), imported(package).SHADES):
        with pytest.raises(RuntimeError, match="red paint is out"):
            registry.names()


def test_a_module_may_ask_for_the_names_while_they_are_loaded(package: Path) -> None:
    write(package, "red", GREEN.replace("green", "red") + "NAMES = COLORS.names()\n")
    write(package, "violet", "from {package} import COLORS\nNAMES = COLORS.names()\n")
    assert colors(package).names() == ["green", "red"]
    assert sys.modules[f"{package.name}.red"].NAMES == ["green", "red"]
    assert sys.modules[f"{package.name}.violet"].NAMES == ["green", "red"]
