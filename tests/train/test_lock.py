"""One training in a folder at a time; folders and teachers that two commands at once do not share by accident."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from samples import write_photos
from tiny_training import tiny_recipe

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.recipe import Recipe
from mlkdc.records.run import RECIPE_FILE, Run, new_run_folder, temporaries
from mlkdc.train import distill
from mlkdc.train.lock import claimed, locked

pytestmark = pytest.mark.slow

HOLD = """
import sys
from pathlib import Path
from mlkdc.train.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def plain(photos: Path, **changes: object) -> Recipe:
    return tiny_recipe(photos, distill={"method": "vanilla"}, teacher=None, **changes)


def test_a_folder_in_use_is_refused_with_its_owner_and_free_when_that_is_killed(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with held_by_another_process(folder) as process:
        with pytest.raises(UsageError, match=rf"in use by process {process.pid} on .*, since .* \(0 minutes\).*--out"):
            distill(plain(photos), out=folder)
        assert {item.name for item in folder.iterdir()} == {".lock", ".owner.json"}
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        # What the owner left behind does not keep others out.
        assert (folder / ".owner.json").exists()
        assert distill(plain(photos), out=folder).finished


def test_a_running_run_is_not_resumed(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / RECIPE_FILE).write_text(plain(photos).to_yaml())
    (folder / "classes.txt").write_text("red\ngreen\nblue\n")
    with held_by_another_process(folder):
        with pytest.raises(UsageError, match="is in use by process"):
            distill(None, resume=folder)
        assert not (folder / "log.txt").exists()
    # The owner was killed and left its note.
    assert (folder / ".owner.json").exists()
    assert distill(None, resume=folder).finished
    assert not (folder / ".owner.json").exists()


def test_two_runs_that_begin_at_once_get_two_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: new_run_folder(None, "quick", tmp_path), range(40)))
    assert len(set(folders)) == 40
    assert all(folder.is_dir() for folder in folders)


def test_a_folder_in_which_nothing_was_written_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(UsageError, match="wrong"), claimed(folder):
        raise UsageError("wrong")
    assert not folder.exists()
    folder.mkdir()
    with claimed(folder):
        (folder / "file").write_text("")
    assert (folder / "file").exists()
    with locked(folder):
        pass
    assert Run(folder).path.exists()


def test_only_the_process_that_writes_removes_what_a_killed_one_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one of those that train one model would remove what the main one is writing."""
    half_written = tmp_path / f".{RECIPE_FILE}.abcdefgh"
    half_written.write_text("")
    assert temporaries(tmp_path) == [half_written]
    with monkeypatch.context() as patch:
        patch.setattr("mlkdc.train.lock.is_main", lambda: False)
        with locked(tmp_path):
            assert half_written.exists()
    with locked(tmp_path):
        assert not half_written.exists()


KILLED = """
import os, pathlib, sys
from mlkdc.train import distill
from mlkdc.recipe import load_recipe
real, calls = pathlib.Path.replace, []
def replace(self, target):
    calls.append(target)
    if len(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    return real(self, target)
pathlib.Path.replace = replace
distill(load_recipe(sys.argv[1]), out=pathlib.Path(sys.argv[2]))
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("write", [1, 5, 6])
def test_a_training_killed_at_a_write_is_begun_anew_or_resumed(photos: Path, tmp_path: Path, write: int) -> None:
    (tmp_path / "plain.yaml").write_text(plain(photos).to_yaml())
    folder = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, str(tmp_path / "plain.yaml"), str(folder), str(write)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    if (folder / RECIPE_FILE).is_file():
        run = distill(None, resume=folder, command="again")
    else:
        run = distill(plain(photos), out=folder, command="again")
        assert run.command == "again"
    assert run.finished
    assert [item.name for item in folder.iterdir() if item.name.startswith(".")] == [".lock"]


def test_what_is_no_run_is_not_cleared(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\n")
    with pytest.raises(UsageError, match="is not empty; start in another folder"):
        new_run_folder(tmp_path, "quick")
    with claimed(tmp_path):
        pass
    assert (tmp_path / "classes.txt").read_text() == "cat\n"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(MlkdcError, match="cannot be locked"), locked(tmp_path):
        pass


TRAIN = """
import sys
from pathlib import Path
from mlkdc.progress import Progress
from mlkdc.recipe import load_recipe
from mlkdc.train import distill
class Shown(Progress):
    def say(self, text):
        print(text, flush=True)
distill(load_recipe(sys.argv[1]), out=Path(sys.argv[2]), progress=Shown())
"""


def test_two_runs_at_once_make_their_teacher_once(tmp_path: Path, clean: Callable[[str], dict[str, str]]) -> None:
    recipe = tiny_recipe(write_photos(tmp_path / "photos"))
    (tmp_path / "tiny.yaml").write_text(recipe.to_yaml())
    processes = []
    for name in ("a", "b"):
        command = [sys.executable, "-c", TRAIN, str(tmp_path / "tiny.yaml"), str(tmp_path / "runs" / name)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean(name)
        )
        processes.append(process)
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    together = "\n".join(outputs)
    assert together.count("training resnet10t") == 1, together
    assert together.count("teacher: reusing") == 1
    assert len(list((tmp_path / "runs").glob("teacher-*"))) == 1
    assert len((next((tmp_path / "runs").glob("teacher-*")) / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.fixture
def clean(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """An environment for each process: a cache that it does not share, and one thread."""
    return lambda name: {**os.environ, "MLKDC_CACHE": str(tmp_path / f"cache-{name}"), "OMP_NUM_THREADS": "1"}
