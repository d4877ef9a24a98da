"""Fill the templates: as HTML, where all text is escaped, and as Markdown, where it is shown as it is."""

from collections.abc import Callable

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from mlkdc.figures import number
from mlkdc.report.artifact_tables import FAILED
from mlkdc.report.markdown import MARKDOWN_FILTERS, Filters, escape
from mlkdc.report.page import Page
from mlkdc.tables import Table

#: Verdicts on a timing; ``unknown`` speaks neither for nor against it.
NOT_TO_BE_RELIED_ON = ("throttled", "disturbed", "unsettled", "spread")


def render_html(page: Page) -> str:
    """The page as one HTML file."""
    filters: Filters = {"table": _html_table, "sentence": _html_sentence, "number": number}
    return _render("report.html", page, filters, autoescape=True)


def render_markdown(page: Page) -> str:
    """The page as Markdown."""
    # Jinja knows no escaping but HTML's; `finalize` sees every printed value instead.
    return _render("report.md", page, MARKDOWN_FILTERS, finalize=escape)


def _render(
    template: str,
    page: Page,
    filters: Filters,
    *,
    autoescape: bool = False,
    finalize: Callable[[object], object] | None = None,
) -> str:
    environment = Environment(
        loader=PackageLoader("mlkdc.report"),
        # A misspelled name in a template must not print as nothing.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=autoescape,
        finalize=finalize,
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(page=page, report=page.report)


def _html_table(table: Table) -> Markup:
    """A table that scrolls by itself where the screen is too narrow."""
    return Markup(f'<div class="wide">{table.html(_cell_class)}</div>')


def _cell_class(text: str) -> str:
    """Figures that must not be relied on are set apart."""
    # By text, so that one rule holds for every table.
    if FAILED in text or text.partition(",")[0] in NOT_TO_BE_RELIED_ON:
        return "bad"
    return ""


def _html_sentence(text: str) -> Markup:
    """A sentence in which commands stand between backticks."""
    sentence = Markup()
    for position, part in enumerate(text.split("`")):
        if position % 2:
            sentence += Markup("<code>{}</code>").format(part)
        else:
            sentence += part
    return sentence
