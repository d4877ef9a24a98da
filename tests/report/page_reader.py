"""Reads a report page back with the standard library's parser: tables, charts, tags and attributes."""

from html.parser import HTMLParser

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """What a page holds.

    Attributes:
        tables: rows of cell texts, by table.
        attributes: every (tag, name, value).
        lines: points of every SVG line, in pixels.
        text: all that a reader sees.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.lines: list[list[tuple[float, float]]] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(source)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "polyline" and dict(attrs)["class"].startswith("line"):
            self.lines.append([tuple(map(float, pair.split(","))) for pair in dict(attrs)["points"].split()])
        if tag not in VOID and not self.get_starttag_text().endswith("/>"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.get_starttag_text().endswith("/>") or self.open[-1:] == [tag]:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        self.text += data
        if self.open and self.open[-1] in ("td", "th", "span") and "table" in self.open:
            self.tables[-1][-1][-1] += data

    def table(self, *head: str) -> dict[str, list[str]]:
        """The rows, by their first cell, of all tables that start with this head, put together."""
        matching = [rows for rows in self.tables if tuple(rows[0][: len(head)]) == head]
        assert matching, f"no table headed {head}"
        return {row[0]: row[1:] for rows in matching for row in rows[1:]}
