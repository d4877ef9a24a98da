"""Text, code and tables as Markdown that shows them as they are. Markup marks what is Markdown already."""

import html
import re
from typing import Any

from markupsafe import Markup

from mlkdc.report.cells import Table


def escape(value: Any) -> Any:
    """Words on one line that neither Markdown nor the HTML in it reads as marks; Markup passes as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    escaped = html.escape(" ".join(value.split()), quote=False)
    return Markup(re.sub(r"([\\`*_\[\]|~#])", r"\\\1", escaped))


def code(text: str) -> Markup:
    """A code span, fenced by more backticks than it holds."""
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if "`" in text else ""
    return Markup(f"{ticks}{pad}{' '.join(text.split())}{pad}{ticks}")


def block(text: str) -> Markup:
    """A code block, indented by four spaces so that nothing in it can end it."""
    return Markup("\n".join(f"    {line}" for line in text.rstrip().splitlines()))


def said(text: str) -> Markup:
    """A sentence in which commands stand between backticks."""
    parts = text.split("`")
    return Markup("").join(code(part) if number % 2 else escape(part) for number, part in enumerate(parts))


def table(content: Table) -> Markup:
    """A table; numbers are set to the right."""
    rule = ["--:" if letter == "r" else "---" for letter in content.align]
    rows = [[escape(cell) for cell in row] for row in (content.head, *content.rows)]
    lines = [rows[0], rule, *rows[1:]]
    return Markup("\n".join(f"| {' | '.join(line)} |" for line in lines))


FILTERS = {"code": code, "block": block, "said": said, "table": table}
