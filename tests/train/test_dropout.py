"""Which units dropout drops: it depends on the seed, the epoch and the process, and not on how images are read."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_sources import ready
from torch.utils.data import DataLoader

from mlkdc.recipe import Recipe

pytestmark = pytest.mark.slow

Tiny = Callable[..., Recipe]


def vanilla(tiny: Tiny) -> Recipe:
    recipe = tiny(distill={"method": "vanilla"}, teacher=None)
    recipe.student.head.dropout = 0.5
    return recipe


def test_an_epoch_draws_what_it_draws_with_a_plain_loader(tiny: Tiny, tmp_path: Path) -> None:
    """Figures were measured so: a loader without workers takes one number from torch's generator in each epoch."""
    recipe = vanilla(tiny)
    trainer = ready(recipe, tmp_path / "run")
    for epoch in range(2):
        trainer._start(epoch)
        next(iter(trainer.loader))
        drawn = torch.rand(5)
        torch.manual_seed(hash((recipe.seed, epoch)))
        next(iter(DataLoader([0.0, 1.0])))
        assert torch.equal(drawn, torch.rand(5))


def test_each_process_drops_other_units_and_shows_the_same_views(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = vanilla(tiny)
    recipe.data.augment.randaugment = True
    trainer = ready(recipe, tmp_path / "run")
    draws, views = [], []
    for process in range(2):
        monkeypatch.setattr(type(trainer.accelerator), "process_index", process)
        trainer._start(0)
        views.append(trainer._look(*trainer._load([3, 1])).pixels)
        draws.append(torch.rand(5))
    assert not torch.equal(*draws)
    assert torch.equal(*views)


#: Workers are forked, which a process that has loaded every runtime here may not survive: it has a process of its own.
READ = """
import sys
from pathlib import Path
from mlkdc import distill, load_recipe
from mlkdc.errors import Interrupted
from mlkdc.train.input import store
from mlkdc.train.loop import Trainer

recipe, folder, kind = load_recipe(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
if kind != "in memory":
    store.memory_bytes = lambda: 0
if kind in ("workers", "stopped"):
    recipe.data.workers = 1
step = Trainer._step
def stop(self, epoch, number, *loaded):
    if (epoch, number) == (1, 1):
        raise KeyboardInterrupt
    return step(self, epoch, number, *loaded)
if kind == "stopped":
    Trainer._step = stop
    try:
        distill(recipe, out=folder)
    except Interrupted:
        Trainer._step = step
        distill(None, resume=folder)
else:
    distill(recipe, out=folder)
"""


def test_the_weights_do_not_depend_on_how_images_are_read(tiny: Tiny, tmp_path: Path) -> None:
    source = tmp_path / "recipe.yaml"
    source.write_text(vanilla(tiny).to_yaml())
    weights = {}
    for kind in ("in memory", "on demand", "workers", "stopped"):
        folder = tmp_path / kind
        done = subprocess.run(
            [sys.executable, "-c", READ, str(source), str(folder), kind], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        weights[kind] = load_file(folder / "model.safetensors")
    for name, expected in weights["in memory"].items():
        for kind, others in weights.items():
            assert torch.equal(others[name], expected), (kind, name)
