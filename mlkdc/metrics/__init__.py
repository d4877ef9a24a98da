"""Multi-label metrics on numpy arrays of targets and probabilities (``n`` images, ``q`` classes)."""

from mlkdc.metrics.decision import Counts, tune_thresholds
from mlkdc.metrics.ranking import average_precision
from mlkdc.metrics.scores import Evaluation, evaluate
from mlkdc.metrics.summary import summarize
from mlkdc.metrics.tuning import tune

__all__ = ["Counts", "Evaluation", "average_precision", "evaluate", "summarize", "tune", "tune_thresholds"]
