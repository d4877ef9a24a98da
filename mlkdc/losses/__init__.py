"""Distillation: loss terms, the methods of the papers as weighted sets of terms, and a run's objective."""

from mlkdc.losses.base import METHODS, TERMS, Batch, Method, Outputs, Term
from mlkdc.losses.objective import Objective, make_objective

__all__ = ["METHODS", "TERMS", "Batch", "Method", "Objective", "Outputs", "Term", "make_objective"]
