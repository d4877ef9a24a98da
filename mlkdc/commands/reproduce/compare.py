"""Their figures beside ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlkdc.commands.reproduce.tables import Table
from mlkdc.records.run import Run

TEACHER = "teacher"

Result = dict[str, Any]


def compare(table: Table, runs: Mapping[tuple[str, str], Run]) -> Result:
    """Theirs and ours, for the finished ``runs`` by row and method, and for the teachers they had.

    Every figure is in percent; a difference is ours minus theirs; what is not known is None.
    """
    entries = []
    for row, published in table.rows.items():
        here = {method: run for (its_row, method), run in runs.items() if its_row == row}
        teachers = [teacher for teacher in map(_teacher_of, here.values()) if teacher]
        if teachers and TEACHER in published:
            entries.append(_entry(table, row, TEACHER, teachers[0]))
        entries += [_entry(table, row, method, run) for method, run in here.items()]
    return {"table": table.name, "title": table.title, "metrics": table.metrics, "rows": entries}


def _teacher_of(run: Run) -> Run | None:
    """The run in which a run's teacher was fine-tuned; None if it had none, or one that came as a file."""
    facts = run.results["teacher"]
    # Beside the run, wherever the two have been moved since.
    folders = [run.path.parent / Path(facts["run"]).name, Path(facts["run"])] if facts else []
    return next((Run(folder) for folder in folders if Run(folder).finished), None)


def _entry(table: Table, row: str, method: str, run: Run) -> Result:
    results = run.results
    theirs = table.rows[row].get(method) or [None] * len(table.metrics)
    figures = {}
    for (name, own), figure in zip(table.metrics.items(), theirs, strict=True):
        value = metric(results, own)
        difference = None if figure is None or value is None else value - figure
        figures[name] = {"theirs": figure, "ours": value, "difference": difference}
    return {
        "row": row,
        "method": method,
        "metrics": figures,
        "run": run.path.name,
        **{key: results[key] for key in ("recipe_hash", "scored_on", "seconds", "data", "versions", "machine")},
    }


def metric(results: Mapping[str, Any], name: str) -> float | None:
    """A metric of ours from results.json, under the names that tables use; None where the data have no such class."""
    if name.startswith("AP("):
        return next((item["AP"] for item in results["per_class"] if item["name"] == name[3:-1]), None)
    if name == "F1(CP,CR)":
        precision, recall = results["metrics"]["CP"], results["metrics"]["CR"]
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    value: float = results["metrics"][name]
    return value


def comparison_rows(result: Result) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a comparison for people: one row for each figure."""
    rows = []
    for entry in result["rows"]:
        for name, figures in entry["metrics"].items():
            own = result["metrics"][name]
            shown = [_shown(figures["theirs"]), _shown(figures["ours"]), _shown(figures["difference"], sign="+")]
            rows.append([entry["row"], entry["method"], name if own == name else f"{name} ({own})", *shown])
    return ["row", "method", "metric (ours)", "theirs", "ours", "difference"], rows


def _shown(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.2f}"


def markdown(result: Result) -> str:
    """The comparison as a Markdown document."""
    header, rows = comparison_rows(result)
    lines = [f"| {' | '.join(cells)} |" for cells in [header, ["---"] * 3 + ["--:"] * 3, *rows]]
    scored = sorted({f"{entry['data']['name']} {entry['scored_on']}" for entry in result["rows"]})
    about = f"Percent; seed {result['seed']}; ours on {', '.join(scored) or 'nothing yet'}. `{result['command']}`"
    return "\n".join([f"# {result['title']}", "", about, "", *lines, ""])
