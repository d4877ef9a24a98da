"""Latency of artefacts, each measured in processes of its own. No torch here."""

from mlkdc.bench.rows import BASELINE, Row, artefact_row, artefact_rows
from mlkdc.bench.table import bench

__all__ = ["BASELINE", "Row", "artefact_row", "artefact_rows", "bench"]
