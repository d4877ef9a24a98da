"""Where a measurement's figures go while it runs, and where those of the one before are meanwhile."""

import shutil
from pathlib import Path

from mlkdc.bench.imported import with_imports_of
from mlkdc.errors import UsageError
from mlkdc.records.bench import BenchFile


class FiguresFile:
    """Written after every turn; the figures of an earlier measurement lie next to it until this one has ended.

    Args:
        path: of the JSON file; one that holds something else than figures is not replaced.

    Raises:
        UsageError: it is a folder, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.previous = path.with_name(f"{path.stem}.previous{path.suffix}")
        self.replaces = path.exists()
        self._earlier = _figures(path)
        if self.replaces and self._earlier is None:
            _check_replaceable(path)

    def keep(self, so_far: BenchFile) -> None:
        """Write what was measured so far, with the rows of another tool that the file held."""
        # Figures of an earlier measurement are worth more than the news that a device is gone.
        if self.replaces and not so_far.measured:
            return
        if self._earlier is not None and not self.previous.exists():
            shutil.copyfile(self.path, self.previous)
        self.with_imports(so_far).save_as(self.path)

    def finish(self, figures: BenchFile) -> None:
        """Write all of it: what was there before is replaced now, unless nothing was measured."""
        self.keep(figures)
        if figures.measured:
            self.previous.unlink(missing_ok=True)

    def with_imports(self, figures: BenchFile) -> BenchFile:
        """With the rows of another tool that the file held."""
        return figures if self._earlier is None else with_imports_of(figures, self._earlier)


def _figures(path: Path) -> BenchFile | None:
    """What the file holds; None where it is missing or cannot be read."""
    try:
        return BenchFile.load_from(path)
    except UsageError:
        return None


def _check_replaceable(path: Path) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder; --out names the JSON file of the figures")
    # One of this name can be damaged.
    if path.name != BenchFile.FILE and path.stat().st_size:
        raise UsageError(f"{path} holds no figures of a bench and is not replaced; name another file with --out")
