"""The papers' tables: our runs of their rows, next to the published figures."""

from mlkdc.commands.reproduce.compare import comparison_table, metric
from mlkdc.commands.reproduce.tables import PublishedTable, load_table, table_names

__all__ = ["PublishedTable", "comparison_table", "load_table", "metric", "table_names"]
