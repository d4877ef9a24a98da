"""Write a run's report: one self-contained page, the same as Markdown, and all of it as JSON."""

from pathlib import Path
from typing import TYPE_CHECKING

from mlkdc.report.collect import collect
from mlkdc.resources import write_text

if TYPE_CHECKING:
    from mlkdc.bench.recommend import Budget

HTML_FILE = "report.html"
MARKDOWN_FILE = "report.md"


def write_report(run_folder: Path, budget: "Budget | None" = None) -> Path:
    """Write report.html, report.md and report.json into a run folder from the files in it.

    The page loads nothing from anywhere and needs no script. For what was not measured it gives the command that
    measures it.

    Args:
        run_folder: of a finished run.
        budget: what an artifact may take, to say what to ship on each device; None says nothing of it.

    Returns:
        The path of report.html.

    Raises:
        UsageError: not a finished run, or one of its files cannot be read; says what to run.
        MlkdcError: a file could not be written.
    """
    # The template engine loads only here: most commands import this package without writing a report.
    from mlkdc.report.page import make_page
    from mlkdc.report.render import render_html, render_markdown

    report = collect(run_folder, budget)
    page = make_page(report)
    # Nothing is written before both are rendered, so that the three files are of one state of the run.
    markdown, html = render_markdown(page), render_html(page)
    report.save(run_folder)
    write_text(run_folder / MARKDOWN_FILE, markdown)
    write_text(run_folder / HTML_FILE, html)
    return run_folder / HTML_FILE
