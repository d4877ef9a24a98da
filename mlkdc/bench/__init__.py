"""Latency and accuracy of artifacts on devices, each turn in a separate process. No torch here."""

from mlkdc.bench.accuracy import Questions, ScoredImages
from mlkdc.bench.rows import Row, artifact_rows, eager_row
from mlkdc.bench.schedule import Plan, bench
from mlkdc.records.bench import BASELINE

__all__ = ["BASELINE", "Plan", "Questions", "Row", "ScoredImages", "artifact_rows", "bench", "eager_row"]
