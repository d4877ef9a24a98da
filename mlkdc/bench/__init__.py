"""Latency of artifacts, each measured in processes of its own. No torch here."""

from mlkdc.bench.rows import BASELINE, Row, artifact_row, artifact_rows
from mlkdc.bench.table import bench

__all__ = ["BASELINE", "Row", "artifact_row", "artifact_rows", "bench"]
