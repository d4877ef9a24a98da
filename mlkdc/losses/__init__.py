"""Distillation: loss terms, and a run's objective, which is a weighted sum of them."""

from mlkdc.losses.batch import Batch, Outputs
from mlkdc.losses.objective import Objective, make_objective
from mlkdc.losses.options import TermOptions
from mlkdc.losses.term import TERMS, Term

__all__ = ["TERMS", "Batch", "Objective", "Outputs", "Term", "TermOptions", "make_objective"]
