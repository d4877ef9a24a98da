"""Latency of artifacts, each measured in separate processes. No torch here."""

from mlkdc.bench.rows import Row, artifact_rows
from mlkdc.bench.schedule import bench
from mlkdc.records.bench import BASELINE

__all__ = ["BASELINE", "Row", "artifact_rows", "bench"]
