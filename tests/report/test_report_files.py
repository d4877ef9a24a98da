"""report.json and report.md, the notes, and folders that cannot be reported on."""

import json
import re
from pathlib import Path

import pytest
from report_folder import (
    bench,
    class_names,
    history,
    manifest,
    read_recipe,
    results,
    write_full,
    write_json,
    write_lines,
    write_minimal,
)

from mlkdc.errors import UsageError
from mlkdc.report import write_report


def report(folder: Path) -> dict:
    """Write the report and read its JSON, refusing what is not JSON."""
    write_report(folder)
    return json.loads((folder / "report.json").read_text(), parse_constant=pytest.fail)


def notes(folder: Path) -> str:
    return "\n".join(report(folder)["notes"])


def test_json_holds_the_sources_unchanged(tmp_path):
    folder = write_full(tmp_path)
    written = report(folder)
    assert written["results"] == results()
    assert written["bench"] == bench()
    assert written["history"] == history()
    assert written["recipe"] == read_recipe(folder)
    assert sorted(written["artifacts"]) == ["onnx-fp16", "onnx-fp32", "onnx-int8"]
    for name, found in written["artifacts"].items():
        assert found == json.loads((folder / "export" / name / "manifest.json").read_text())
    assert written["missing"] == {}
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith("report")) == [
        "report.html",
        "report.json",
        "report.md",
    ]


def test_json_of_a_bare_run(tmp_path):
    written = report(write_minimal(tmp_path))
    assert (written["bench"], written["artifacts"], written["latency"], written["best"]) == (None, {}, [], None)
    assert set(written["missing"]) == {"bench", "artifacts"}


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a Markdown text: cells between pipes that no backslash precedes."""
    found: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
            assert cells[0] == cells[-1] == ""
            found[-1].append(cells[1:-1])
        elif found[-1]:
            found.append([])
    return [table for table in found if table]


@pytest.mark.parametrize("write", [write_full, write_minimal])
def test_markdown_tables_are_even(tmp_path, write):
    text = write_report(write(tmp_path)).with_suffix(".md").read_text(encoding="utf-8")
    for table in tables(text):
        assert {len(row) for row in table} == {len(table[0])}
        assert all(re.fullmatch("---|--:", cell) for cell in table[1])
        assert len(table) > 2


def test_markdown_holds_the_figures_and_escapes_names(tmp_path):
    text = write_report(write_full(tmp_path)).with_suffix(".md").read_text(encoding="utf-8")
    by_class = next(table for table in tables(text) if table[0][0] == "class")
    read = {re.sub(r"\\(.)", r"\1", row[0]): row[1:] for row in by_class[2:]}
    expected = {name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for name in class_names(20)}
    assert set(read) == expected
    for item in results()["per_class"][6:-1]:
        assert read[item["name"]] == [f"{item['AP']:.2f}", f"{item['positives']}", f"{item['threshold']:.3f}"]
    assert "<b>" not in text
    assert "`mlkdc distill --recipe l2d-mobilenet --data 'my photos/'`" in text


def test_commands_make_the_same_again(tmp_path):
    folder = write_full(tmp_path / "my run")
    source = manifest("onnx-fp32", class_names(20))
    source |= {"dynamic_batch": True, "input": source["input"] | {"dtype": "uint8"}}
    write_json(folder / "export" / "onnx-fp32" / "manifest.json", source)
    commands = {item["what"]: item["command"] for item in report(folder)["commands"]}
    assert commands["trained with"] == results()["command"]
    assert commands["timed with"] == bench()["command"]
    again = f"mlkdc export '{folder}' --target onnx --precision fp32 --dynamic --uint8"
    assert commands["exports onnx-fp32 again"] == again


def test_commands_of_int8_tell_how_it_was_made(tmp_path):
    folder = write_full(tmp_path)
    source = manifest("onnx-int8", class_names(20))
    source |= {"quantization": source["quantization"] | {"equalize": True}, "details": {"reduce_range": False}}
    write_json(folder / "export" / "onnx-int8" / "manifest.json", source)
    commands = {item["what"]: item["command"] for item in report(folder)["commands"]}
    again = f"mlkdc export {folder} --target onnx --precision int8 --no-reduce-range"
    assert commands["exports onnx-int8 again"] == f"{again} --max-drop 0.1 --max-class-drop 5 --equalize"


def test_notes_on_what_weakens_a_figure(tmp_path):
    folder = write_full(tmp_path)
    found = notes(folder)
    assert "onnx-int8 failed its parity check" in found
    assert "onnx-fp16 (2 threads)" in found
    assert "onnx-fp32" not in found
    assert "openvino" not in found  # skipped, not unstable
    assert "optimiztic" not in found
    assert "1 of 20 classes without a positive image in the test split" in found

    write_json(folder / "results.json", results() | {"scored_on": "val", "thresholds_from": "val"})
    found = notes(folder)
    assert "same split (val): the tuned figures are optimiztic" in found
    assert "no test split" in found


def test_notes_on_artifacts_that_changed_since(tmp_path):
    folder = write_full(tmp_path)
    later = manifest("onnx-fp32", class_names(20)) | {"created": "2026-11-21T16:00:00+01:00", "recipe_hash": "another"}
    write_json(folder / "export" / "onnx-fp32" / "manifest.json", later)
    figures = bench()
    figures["rows"] = [row for row in figures["rows"] if row["name"] != "onnx-fp16"]
    write_json(folder / "bench.json", figures)
    found = notes(folder)
    assert "onnx-fp32 was exported after it was timed" in found
    assert "onnx-fp32 was exported from another training" in found
    assert "onnx-fp16 has not been timed yet" in found
    assert "whole range" not in found


def test_notes_on_what_only_some_processors_can_run(tmp_path):
    folder = write_full(tmp_path)
    whole = manifest("onnx-int8", class_names(20)) | {"details": {"reduce_range": False}}
    write_json(folder / "export" / "onnx-int8" / "manifest.json", whole)
    assert (
        "onnx-int8 has int8 weights in their whole range: it is for Arm, and for x86 processors that have VNNI"
        in notes(folder)
    )


def test_history_of_a_run_that_was_killed_and_resumed(tmp_path):
    folder = write_minimal(tmp_path)
    entries = history(5)
    write_lines(folder / "metrics.jsonl", [*entries[:3], entries[2] | {"loss": 9.0}, entries[3]])
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"epoch": 5, "loss": NaN, "lr": 0.1}\n{"epoch": 6, "lo')
    written = report(folder)["history"]
    assert [entry["epoch"] for entry in written] == [1, 2, 3, 4, 5]
    assert written[2]["loss"] == 9.0
    assert written[4]["loss"] is None


def test_a_broken_line_inside_the_history(tmp_path):
    folder = write_minimal(tmp_path)
    (folder / "metrics.jsonl").write_text('{"epoch": 1}\nbroken\n{"epoch": 2}\n')
    with pytest.raises(UsageError, match=r"metrics\.jsonl, line 2"):
        write_report(folder)


def test_only_failed_artifacts(tmp_path):
    folder = write_full(tmp_path)
    for name in ("onnx-fp32", "onnx-fp16"):
        write_json(folder / "export" / name / "manifest.json", manifest(name, class_names(20), 1.0, passed=False))
    assert report(folder)["best"]["name"] == "torch eager"
    assert "no artifact passed its parity check" in (folder / "report.html").read_text(encoding="utf-8")


def test_steady_timings_come_before_faster_unsteady_ones(tmp_path):
    folder = write_full(tmp_path)
    figures = bench()
    for row in figures["rows"]:
        if (row["name"], row["threads"]) == ("onnx-fp32", 2):
            row["stable"] = False
    write_json(folder / "bench.json", figures)
    best = report(folder)["best"]
    assert (best["name"], best["threads"]) == ("onnx-fp32", 1)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("results.json", None, "mlkdc distill --resume"),
        ("results.json", {"format": 2}, r"format 2.*reads up to 1.*mlkdc distill --resume"),
        ("results.json", "not json", r"is not JSON.*mlkdc distill --resume"),
        ("results.json", {"format": 1, "name": "x"}, r"has no method, command"),
        ("results.json", [1], "expected a mapping"),
        ("bench.json", {"format": 7}, r"format 7.*mlkdc bench"),
        ("export/onnx-fp32/manifest.json", {"format": 9}, r"format 9.*export the run again"),
        ("recipe.yaml", None, "is not a run folder"),
    ],
)
def test_folders_that_cannot_be_reported_on(tmp_path, name, content, says):
    folder = write_full(tmp_path)
    if content is None:
        (folder / name).unlink()
    elif isinstance(content, str):
        (folder / name).write_text(content)
    else:
        write_json(folder / name, content)
    with pytest.raises(UsageError, match=says):
        write_report(folder)
    assert not (folder / "report.html").exists()
