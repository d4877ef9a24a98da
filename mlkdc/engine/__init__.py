"""Training: run folders, teachers, the loop, and scoring."""

from mlkdc.engine.distill import distill
from mlkdc.engine.progress import Progress
from mlkdc.engine.runs import Run, load_run, newest_run

__all__ = ["Progress", "Run", "distill", "load_run", "newest_run"]
