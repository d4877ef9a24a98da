"""Training: run folders, teachers, the loop, and scoring."""

from mlkdc.progress import Progress
from mlkdc.train.distill import distill
from mlkdc.train.runs import Run, load_run, newest_run

__all__ = ["Progress", "Run", "distill", "load_run", "newest_run"]
