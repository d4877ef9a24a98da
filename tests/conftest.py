"""Small seeded data and models that several test folders use."""

from collections.abc import Callable
from pathlib import Path

import pytest
from samples import write_photos
from tiny_artifacts import expected_fixture, images, make_artifact
from tiny_training import tiny_recipe

from mlkdc.recipe import Recipe

__all__ = ["expected_fixture", "images", "make_artifact"]


@pytest.fixture(autouse=True)
def separate_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes to the user's cache or sees that of another test."""
    monkeypatch.setenv("MLKDC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 48 tagged images: 3 labels, splits train, val and test."""
    return write_photos(tmp_path / "photos")


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``HOME/runs/photos``: a finished tiny run with ``export/onnx-fp32`` and ``bench.json``, on ``HOME/photos``.

    Tests that write into it work on a copy.
    """
    from mlkdc.commands.bench import Asked, bench_paths
    from mlkdc.exporting import export
    from mlkdc.train import distill

    home = tmp_path_factory.mktemp("home")
    photos = write_photos(home / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLKDC_CACHE", str(home / "cache"))
        run = distill(tiny_recipe(photos), out=home / "runs" / "photos", command="mlkdc distill --recipe tiny")
        export(run, "onnx")
        bench_paths([run.path], Asked(runs=200, seconds=0.2, passes=1, threads=[1]))
    return run.path


@pytest.fixture
def tiny(photos: Path) -> Callable[..., Recipe]:
    """``tiny(**changes)``: the tiny recipe on the tiny photos."""
    return lambda **changes: tiny_recipe(photos, **changes)
