"""What a run folder holds, as a page to read, as Markdown and as JSON. No torch here."""

from mlkdc.report.collect import collect
from mlkdc.report.write import write_report

__all__ = ["collect", "write_report"]
