"""Write a run's report: one self-contained page, the same as Markdown, and all of it as JSON."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mlkdc.bench import BASELINE
from mlkdc.report import cells, charts, markdown, tables
from mlkdc.report.collect import collect, file_bytes
from mlkdc.resources import write_atomic, write_json


def write_report(run_folder: Path) -> Path:
    """Write report.html, report.md and report.json into a run folder from the files in it.

    The page loads nothing from anywhere and needs no script. What was not measured is said, with the command
    that measures it.

    Returns:
        The path of report.html.

    Raises:
        UsageError: not a finished run, or one of its files cannot be read; says what to run.
        MlkdcError: a file could not be written.
    """
    collected = collect(run_folder)
    view = _view(collected)
    page = _environment(autoescape=True).get_template("report.html").render(view)
    text = _environment(finalize=markdown.escape).get_template("report.md").render(view)
    write_json(run_folder / "report.json", collected)
    for name, content in (("report.md", text), ("report.html", page)):
        write_atomic(run_folder / name, _writer(content))
    return run_folder / "report.html"


def _writer(content: str) -> Callable[[Path], Any]:
    return lambda temporary: temporary.write_text(content, encoding="utf-8")


def _environment(**options: Any) -> Environment:
    loader = PackageLoader("mlkdc.report")
    environment = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, **options)
    environment.filters.update(number=cells.number, **markdown.FILTERS)
    return environment


def _view(collected: dict[str, Any]) -> dict[str, Any]:
    results, bench = collected["results"], collected["bench"]
    classes = tables.per_class(results)
    half = (len(classes) + 1) // 2 if len(classes) > 12 else len(classes)
    return {
        **collected,
        "cards": _cards(collected),
        "facts": _facts(results),
        "ranked": tables.ranked(results["metrics"]),
        "decided": tables.decided(results["metrics"]),
        "beside_teacher": tables.beside_teacher(results),
        "latency_table": tables.latency(collected["latency"]) if bench else None,
        "tolerances": tables.tolerances(collected["artifacts"]),
        "artifact_table": tables.artifacts(collected["artifacts"]),
        "scatter": _scatter(collected["latency"]),
        "ladders": tables.ladders(collected["artifacts"]),
        "merges": tables.merges(collected["artifacts"]),
        "class_columns": [part for part in (classes[:half], classes[half:]) if part],
        "class_table": tables.class_table(results),
        "history_table": tables.history(collected["history"]),
        "curves": _curves(collected["history"]),
        "machines": tables.machines(collected),
        "versions": tables.versions(collected),
        "split_table": _splits(results["data"]),
    }


def _cards(collected: dict[str, Any]) -> list[dict[str, str]]:
    """The headline: one figure each, with where it is from; without a figure, what to run."""
    results, best, missing = collected["results"], collected["best"], collected["missing"]
    model = results["model"]
    where = f"on the {results.get('scored_on')} split"
    cards = [{"title": "mAP", "value": cells.number(results["metrics"].get("mAP"), 1), "unit": "%", "detail": where}]
    if best:
        detail = f"{best['name']}, {cells.threads(best['threads'])}"
        if best.get("speedup") and best["name"] != BASELINE:
            detail += f", {best['speedup']:.1f}× as fast as {BASELINE}"
        detail += "" if best["stable"] else "; unstable"
        cards.append({"title": "latency", "value": cells.number(best["median_ms"], 1), "unit": "ms", "detail": detail})
    else:
        nothing = "no artifact that passed its parity check was timed"
        cards.append({"title": "latency", "value": "", "unit": "", "detail": missing.get("bench", nothing)})
    fit = {name: file_bytes(item) for name, item in collected["artifacts"].items() if item["status"] == "ok"}
    name = best["name"] if best and best["name"] in fit else min(fit, key=fit.__getitem__, default=None)
    if name:
        size = {"value": cells.number(fit[name] / 1e6, 1), "unit": "MB", "detail": name}
    else:
        failed = "no artifact passed its parity check"
        size = {"value": "", "unit": "", "detail": missing.get("artifacts", failed)}
    cards.append({"title": "size", **size})
    value, _, unit = cells.scaled(model.get("params")).partition(" ")
    detail = f"{cells.scaled(model.get('macs'))} multiply-adds at {model['image_size']}\N{NO-BREAK SPACE}px"
    cards.append({"title": "parameters", "value": value, "unit": unit, "detail": detail})
    return cards


def _facts(results: dict[str, Any]) -> list[tuple[str, str]]:
    data, model = results["data"], results["model"]
    facts = [
        ("method", results["method"]),
        ("student", f"{model['model']}, width {model.get('width', 1)}, {model.get('head')} head"),
        ("input", f"{model['image_size']} × {model['image_size']} px"),
        ("data", data["name"]),
        ("seed", str(results["seed"])),
    ]
    if results.get("teacher"):
        facts.insert(1, ("teacher", results["teacher"]["model"]))
    if results.get("started"):
        facts.append(("trained", results["started"].replace("T", " ")[:16]))
    if results.get("seconds") is not None:
        facts.append(("took", f"{results['seconds'] / 60:.1f} min"))
    return facts


def _splits(data: dict[str, Any]) -> cells.Table:
    rows = [[name, cells.number(count, 0)] for name, count in data["images"].items()]
    return cells.Table(["split", "images"], rows, "lr")


def _scatter(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    timed = [row for row in rows if not row.get("skipped") and row["mAP"] is not None]
    if not timed:
        return None
    threads = sorted({row["threads"] for row in timed})
    marks = [
        charts.Mark(
            row["median_ms"],
            row["mAP"],
            row["name"] + (" (failed)" if row["parity"] == "failed" else ""),
            threads.index(row["threads"]),
        )
        for row in timed
    ]
    chart = charts.scatter(marks, x_label="median latency, ms", y_label="mAP, %")
    return {"chart": chart, "names": [cells.threads(count) for count in threads]}


def _curves(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One chart per kind of figure; only those that were recorded."""

    def points(name: str, part: str | None = None) -> list[tuple[float, float]]:
        found = [(entry["epoch"], (entry.get(part, {}) if part else entry).get(name)) for entry in history]
        return [(epoch, value) for epoch, value in found if value is not None]

    names = list(dict.fromkeys(name for entry in history for name in entry.get("terms", {})))
    terms = {name: points(name, "terms") for name in names}
    if len(names) != 1:
        terms = {"sum": points("loss"), **terms}
    values = [y for line in terms.values() for _, y in line if y > 0]
    log = bool(values) and max(values) > 20 * min(values)
    wanted = [
        ("Training loss by term, as weighted", terms, "loss (log scale)" if log else "loss", log),
        ("Validation mAP", {"mAP": points("mAP")}, "mAP, %", False),
        ("Learning rate", {"lr": points("lr")}, "lr", False),
    ]
    return [
        {
            "title": title,
            "names": list(series),
            "chart": charts.line_chart(series, x_label="epoch", y_label=label, log=log),
        }
        for title, series, label, log in wanted
        if any(series.values())
    ]
