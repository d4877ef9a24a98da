"""A reader of another package, found through an entry point: the documented one, installed and used."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from make_layouts import write_image

DOCUMENT = Path(__file__).parents[2] / "docs" / "own-layout.md"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder as pip would leave it: the package and its metadata."""
    text = DOCUMENT.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    site = tmp_path / "site"
    (site / "my_package").mkdir(parents=True)
    (site / "my_package/__init__.py").write_text("", encoding="utf-8")
    (site / "my_package/pets.py").write_text(code, encoding="utf-8")
    ((group, line),) = re.findall(r'\[project\.entry-points\."(.+?)"\]\n(.+)\n', text)
    metadata = site / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n", encoding="utf-8")
    declare(site, group, line.replace('"', ""))
    return site


def declare(site: Path, group: str, line: str) -> None:
    (site / "my_package-1.0.dist-info/entry_points.txt").write_text(f"[{group}]\n{line}\n", encoding="utf-8")


def mlkdc(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    environment = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "300"}
    command = [sys.executable, "-m", "mlkdc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_documented_reader_is_listed_and_used(site: Path, tmp_path: Path):
    lines = []
    for number in range(24):
        write_image(tmp_path / f"pets/{number}.png")
        lines.append(f"{number}.png: {('dog black', 'cat', 'cat white')[number % 3]}")
    (tmp_path / "pets/pets.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert "a folder with pets.txt: an image, a colon and labels in each line" in mlkdc(site, "ls", "layouts").stdout
    shown = mlkdc(site, "data", str(tmp_path / "pets"))
    assert shown.returncode == 0, shown.stderr
    assert "pets: pets at" in shown.stdout
    assert "labels: 4; per image 1.67 (1 to 2)" in shown.stdout
    (tmp_path / "pets/pets.txt").write_text("0.png dog\n", encoding="utf-8")
    refused = mlkdc(site, "data", str(tmp_path / "pets"))
    assert refused.returncode == 2
    assert "row 1: expected an image, a colon and labels, got '0.png dog'" in refused.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("csv = my_package.pets:LAYOUT", "has the name of an existing layout"),
        ("pets = my_package.pets:read", "is not a mlkdc.data.layouts.Layout"),
        ("pets = my_package.nowhere:LAYOUT", "cannot be imported (ModuleNotFoundError"),
    ],
)
def test_a_wrong_entry_is_refused_in_one_sentence(line: str, said: str, site: Path):
    declare(site, "mlkdc.layouts", line)
    done = mlkdc(site, "ls", "layouts")
    assert done.returncode == 2
    assert "package my-package: the entry point" in done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("indent", ["", "    "])
def test_a_reader_that_ends_the_program_is_named_in_one_sentence(indent: str, site: Path, tmp_path: Path):
    """When it is imported, or when it looks at data."""
    code = (
        f"import sys\nfrom mlkdc.data.layouts import Layout\ndef detect(path):\n    sys.exit(0)\n{indent}sys.exit(0)\n"
    )
    (site / "my_package/pets.py").write_text(f"{code}LAYOUT = Layout('pets', detect, detect)\n", encoding="utf-8")
    done = mlkdc(site, "data", str(tmp_path))
    assert done.returncode != 0
    assert "SystemExit: 0" in done.stderr
    assert done.stderr.count("\n") == 1
