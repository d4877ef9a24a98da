"""The papers' tables: our runs of their rows, and their figures beside ours."""

from mlkdc.commands.reproduce.compare import comparison_rows, metric
from mlkdc.commands.reproduce.tables import Table, load_table, table_names
from mlkdc.commands.reproduce.train import reproduce

__all__ = ["Table", "comparison_rows", "load_table", "metric", "reproduce", "table_names"]
