"""One model trained by two processes: one folder, written once, in steps of the recipe's full batch size."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlkdc.recipe import Recipe
from mlkdc.records.run import load_run

pytestmark = pytest.mark.slow

Tiny = Callable[..., Recipe]
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
COMMAND = "import sys; from mlkdc.cli import main; sys.argv[0] = 'mlkdc'; main()"


def launched(tmp_path: Path, recipe: Recipe, command: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    (tmp_path / "start.py").write_text(COMMAND)
    arguments = [command, "--recipe", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*LAUNCH, str(tmp_path / "start.py"), *arguments], capture_output=True, text=True, env=environment, check=False
    )


def test_two_processes_share_each_batch_and_one_writes(tiny: Tiny, tmp_path: Path) -> None:
    done = launched(tmp_path, tiny(), "distill")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("mobilenetv2 (l2d)") == 1
    run = load_run(tmp_path / "run")
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    # 28 training images in full batches of 8, however many processes.
    assert [line["step"] for line in lines] == [3, 6]
    teacher = run.results.teacher
    assert teacher
    assert teacher.metrics
    assert len(list(tmp_path.glob("teacher-*"))) == 1


def test_a_network_that_has_layers_for_a_classifier_is_trained_by_two_processes(tiny: Tiny, tmp_path: Path) -> None:
    """Each waits for the gradient of every parameter."""
    recipe = tiny(distill={"method": "vanilla"}, teacher=None)
    recipe.student.model, recipe.student.width = "lcnet_050", 1.0
    done = launched(tmp_path, recipe, "distill")
    assert done.returncode == 0, done.stderr
    assert len(load_run(tmp_path / "run").epochs) == 2


@pytest.mark.parametrize(
    ("change", "command", "said"),
    [
        ({"batch_size": 7}, "distill", "choose a multiple"),
        ({"batch_size": 40}, "distill", "`--set train.batch_size=30`"),
        ({"head_first": 0.5}, "distill", "head_first trains in one process"),
        ({}, "run", "mlkdc distill"),
    ],
)
def test_what_cannot_be_shared_is_said(
    change: dict[str, float], command: str, said: str, tiny: Tiny, tmp_path: Path
) -> None:
    recipe = tiny(distill={"method": "vanilla"}, teacher=None)
    for name, value in change.items():
        setattr(recipe.train, name, value)
    done = launched(tmp_path, recipe, command)
    assert done.returncode != 0
    assert said in done.stderr
