"""What a run folder holds, as a page to read, as Markdown and as JSON. No torch here."""

from mlkdc.report.render import write_report

__all__ = ["write_report"]
