"""Training: plans, teachers, the loop, and scoring."""

from mlkdc.train.distill import distill
from mlkdc.train.score import evaluate_run, load_model

__all__ = ["distill", "evaluate_run", "load_model"]
