"""Text, code and tables as Markdown that shows them as they are. Markup marks what is Markdown already."""

import re
from collections.abc import Callable, Mapping

from markupsafe import Markup

from mlkdc.tables import Table, escape_markdown

#: What a template may call after a ``|``, by name.
Filters = Mapping[str, Callable[..., str]]


def escape(value: object) -> object:
    """Words on one line that neither Markdown nor the HTML in it reads as marks; Markup passes as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return Markup(escape_markdown(value))
    return value


def code(text: str) -> Markup:
    """A code span, fenced by more backticks than it holds."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    ticks = "`" * (longest + 1)
    words = " ".join(text.split())
    # Next to the fence, a backtick of the text would count as part of it.
    if longest:
        words = f" {words} "
    return Markup(f"{ticks}{words}{ticks}")


def block(text: str) -> Markup:
    """A code block, indented by four spaces so that nothing in it can end it."""
    return Markup("\n".join(f"    {line}" for line in text.rstrip().splitlines()))


def sentence(text: str) -> Markup:
    """A sentence in which commands stand between backticks."""
    parts = []
    for position, part in enumerate(text.split("`")):
        if position % 2:
            parts.append(code(part))
        else:
            parts.append(_words(part))
    return Markup("").join(parts)


def table(content: Table) -> Markup:
    """A table whose cells are text."""
    return Markup(content.markdown())


def _words(text: str) -> Markup:
    """Escaping strips the ends, but the spaces there keep words apart from the code next to them."""
    escaped = escape_markdown(text)
    if text[:1].isspace():
        escaped = f" {escaped}"
    if text[-1:].isspace():
        escaped = f"{escaped} "
    return Markup(escaped)


MARKDOWN_FILTERS: Filters = {"code": code, "block": block, "sentence": sentence, "table": table}
