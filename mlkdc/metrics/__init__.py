"""Multi-label metrics on numpy arrays of targets and probabilities (``n`` images, ``q`` classes)."""

from mlkdc.metrics.decision import Counts, tune_thresholds
from mlkdc.metrics.ranking import average_precision
from mlkdc.metrics.scores import Scores, evaluate

__all__ = ["Counts", "Scores", "average_precision", "evaluate", "tune_thresholds"]
