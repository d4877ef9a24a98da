"""Tables and figures as people read them; HTML and Markdown are read back by other parsers."""

import re
from html.parser import HTMLParser

import pytest

from mlkdc.figures import counted, drop_range, drop_words, megabytes, number, ratio, scaled, signed
from mlkdc.tables import Table

WIDE = Table(
    ["model", "what it is and why one would take it", "ms"],
    [["mobilenetv2", "small and fast on every phone " * 4, "3.50"], ["repvgg_a0", "large", "12.25"]],
)


class Cells(HTMLParser):
    """The cells of a page's tables, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("th", "td")
        if self.inside:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self.inside = False


@pytest.mark.parametrize("width", [40, 60, 80])
def test_text_fits_the_width_and_loses_no_word(width: int) -> None:
    shown = WIDE.text(width)
    assert max(len(line) for line in shown.splitlines()) <= width
    words = re.findall(r"\w+", " ".join(cell for row in WIDE.rows for cell in row))
    assert sorted(words) == sorted(re.findall(r"\w+", shown.partition("\n-")[2].partition("\n")[2]))


def test_text_is_not_wrapped_where_there_is_room_and_numbers_never_are() -> None:
    narrow = Table(["name", "milliseconds a call"], [["a", "1,234.50"], ["bb", "7.25"]])
    assert narrow.text() == "\n".join(
        [
            "name  milliseconds a call",
            "----  -------------------",
            "a                1,234.50",
            "bb                   7.25",
        ]
    )
    tight = narrow.text(18).splitlines()
    assert "1,234.50" in tight[-2]
    assert max(map(len, tight)) <= 18


def test_no_line_ends_in_blanks() -> None:
    assert not re.findall(r" $", Table(["a", ""], [["1", ""]], "ll").text(), re.MULTILINE)


def test_columns_of_words_are_set_to_the_left() -> None:
    assert Table(["a", "b", "c"], [["1", "-", "x"], ["2", "3", "4"]]).alignment == "lrl"
    assert Table(["a", "b"], [], "rr").alignment == "rr"


def test_hostile_cells_stay_text() -> None:
    hostile = ["<script>alert(1)</script>", "a|b`c*_d[e](f)", "&amp;\n<b>"]
    table = Table(["x", "y", "z"], [hostile], "lll")
    reader = Cells()
    reader.feed(table.html())
    assert reader.rows == [["x", "y", "z"], hostile]
    assert "<script" not in table.html().lower().replace("&lt;script", "")
    row = table.markdown().splitlines()[2]
    assert len(re.findall(r"(?<!\\)\|", row)) == 4
    assert "<" not in row


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (number(-0.001), "0.00"),
        (number(1234.5), "1,234.50"),
        (number(None), "–"),
        (signed(-0.004), "0.00"),
        (signed(0.25), "+0.25"),
        (signed(-0.25), "-0.25"),
        (scaled(2_223_872), "2.224 M"),
        (scaled(999), "999"),
        (scaled(999_940), "999.9 k"),
        (scaled(999_960), "1.000 M"),
        (scaled(999_999_999), "1.000 G"),
        (megabytes(12_500_000, 1), "12.5"),
        (ratio(2), "2.00x"),
        (drop_words(0.4), "drops by 0.40"),
        (drop_words(-0.4), "rises by 0.40"),
        (drop_words(-0.004), "drops by 0.00"),
        (drop_range(0.4, (-0.1, 0.9)), "-0.10 to 0.90"),
        (drop_range(-0.4, (-0.9, 0.1)), "-0.10 to 0.90"),
        (counted(1, "image"), "1 image"),
        (counted(1200, "image"), "1,200 images"),
    ],
)
def test_figures(shown: str, expected: str) -> None:
    assert shown == expected
