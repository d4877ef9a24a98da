"""Files and folders that the user may not read: a sentence each, and no set that is lost with them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from make_layouts import MAKERS, make_csv, write_image

#: The administrator may read everything, unless that right is given away.
WITHOUT_RIGHTS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]

pytestmark = pytest.mark.skipif(
    os.name == "nt" or (os.geteuid() == 0 and shutil.which("setpriv") is None), reason="needs a user without rights"
)


def mlkdc(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlkdc", *arguments]
    if os.geteuid() == 0:
        command = [*WITHOUT_RIGHTS, *command]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def closed() -> Iterator[list[Path]]:
    """Paths that nobody may read during a test."""
    paths: list[Path] = []
    yield paths
    for path in paths:
        path.chmod(0o755)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_a_closed_folder_next_to_the_data_is_passed_over(name: str, tmp_path: Path, closed: list[Path]):
    root = MAKERS[name](tmp_path / "photos")
    before = mlkdc("data", str(root), "--layout", name)
    assert before.returncode == 0, before.stderr
    closed.append(root / "lost+found")
    closed[0].mkdir(mode=0)
    after = mlkdc("data", str(root), "--layout", name)
    assert (after.returncode, after.stdout, after.stderr) == (0, before.stdout, "")


def test_closed_images_folders_and_tables(tmp_path: Path, closed: list[Path]):
    root = make_csv(tmp_path / "photos")
    closed += [root / "a.png", root / "sub"]
    for path in closed:
        path.chmod(0)
    done = mlkdc("data", str(root))
    assert done.returncode == 0, done.stderr
    assert f"unreadable image: {root / 'a.png'} (may not be read (permission denied))" in done.stdout
    assert f"unreadable image: {root / 'sub/c.png'} (its folder may not be read)" in done.stdout
    closed.append(root / "labels.csv")
    closed[-1].chmod(0)
    done = mlkdc("data", str(root))
    assert done.returncode == 2
    assert "labels.csv: cannot be read (Permission denied); check its permissions" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_folder_itself(tmp_path: Path, closed: list[Path]):
    write_image(tmp_path / "photos/a.png")
    closed.append(tmp_path / "photos")
    closed[0].chmod(0)
    done = mlkdc("data", str(tmp_path / "photos"))
    assert done.returncode == 2
    assert "photos: may not be read; check its permissions" in done.stderr
