"""report.md, read back by its pipes."""

import re
from pathlib import Path

import pytest
from report_folder import write_full, write_minimal
from report_training import class_names, results

from mlkdc.report import write_report


def markdown(folder: Path) -> str:
    return write_report(folder).with_suffix(".md").read_text(encoding="utf-8")


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a Markdown text: cells between pipes that no backslash precedes."""
    blocks: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
            assert cells[0] == cells[-1] == ""
            blocks[-1].append(cells[1:-1])
        elif blocks[-1]:
            blocks.append([])
    return [table for table in blocks if table]


@pytest.mark.parametrize("write", [write_full, write_minimal])
def test_markdown_tables_are_even(tmp_path, write):
    for table in tables(markdown(write(tmp_path))):
        assert {len(row) for row in table} == {len(table[0])}
        assert all(re.fullmatch("---|--:", cell) for cell in table[1])
        assert len(table) > 2


def test_markdown_holds_the_figures_and_escapes_names(tmp_path):
    text = markdown(write_full(tmp_path))
    by_class = next(table for table in tables(text) if table[0][0] == "class")
    read = {re.sub(r"\\(.)", r"\1", row[0]): row[1:] for row in by_class[2:]}
    expected = {name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for name in class_names(20)}
    assert set(read) == expected
    for score in results().per_class[6:-1]:
        assert read[score.name] == [f"{score.ap_percent:.2f}", f"{score.positives}", f"{score.threshold:.3f}"]
    assert "<b>" not in text
    assert "`mlkdc distill --recipe l2d-mobilenet --data 'my photos/'`" in text


def test_markdown_keeps_words_and_commands_apart(tmp_path):
    folder = write_minimal(tmp_path)
    assert f"not measured yet: run `mlkdc bench {folder}`\n" in markdown(folder)
