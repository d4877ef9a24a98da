"""Published figures next to ours."""

from collections.abc import Mapping
from pathlib import Path

from mlkdc.commands.reproduce.tables import PublishedTable
from mlkdc.figures import number, signed
from mlkdc.records.reproduction import Entry, Figure, Reproduction
from mlkdc.records.results import Results
from mlkdc.records.run import Run
from mlkdc.tables import Table

TEACHER = "teacher"


def compare(table: PublishedTable, runs: Mapping[tuple[str, str], Run]) -> list[Entry]:
    """Published and ours, for the finished ``runs`` by row and method, and for the teachers they had."""
    entries = []
    for row, published in table.rows.items():
        runs_of_row = {method: run for (run_row, method), run in runs.items() if run_row == row}
        teacher = _first_teacher(list(runs_of_row.values()))
        if teacher and TEACHER in published:
            entries.append(_entry(table, row, TEACHER, teacher))
        for method, run in runs_of_row.items():
            entries.append(_entry(table, row, method, run))
    return entries


def _first_teacher(students: list[Run]) -> Run | None:
    for student in students:
        if teacher := _teacher_of(student):
            return teacher
    return None


def _teacher_of(student: Run) -> Run | None:
    """The run in which a run's teacher was fine-tuned; None if it had none, or one that came as a file."""
    facts = student.results.teacher
    if facts is None:
        return None
    # Next to the student's run first: both may have been moved since.
    for folder in (student.path.parent / Path(facts.run).name, Path(facts.run)):
        if Run(folder).finished:
            return Run(folder)
    return None


def _entry(table: PublishedTable, row: str, method: str, run: Run) -> Entry:
    results = run.results
    published = table.rows[row].get(method) or [None] * len(table.metrics)
    metrics = {}
    for (name, our_name), figure in zip(table.metrics.items(), published, strict=True):
        ours = metric(results, our_name)
        difference = None
        if figure is not None and ours is not None:
            difference = ours - figure
        metrics[name] = Figure(published=figure, ours=ours, difference=difference)
    return Entry(
        row=row,
        method=method,
        metrics=metrics,
        run=run.path.name,
        recipe_hash=results.recipe_hash,
        scored_on=results.scored_on,
        training_seconds=results.training_seconds,
        data=results.data,
        versions=results.versions,
        machine=results.machine,
    )


def metric(results: Results, name: str) -> float | None:
    """A metric of ours under the names that tables use: also ``AP(class)`` and ``F1(CP,CR)``, the harmonic mean.

    None where the data have no such class.
    """
    if name.startswith("AP("):
        label = name.removeprefix("AP(").removesuffix(")")
        scores = {item.name: item.ap_percent for item in results.per_class}
        return scores.get(label)
    if name == "F1(CP,CR)":
        precision, recall = results.metrics["CP"], results.metrics["CR"]
        if precision + recall == 0:
            return 0.0
        return 2 * precision * recall / (precision + recall)
    return results.metrics[name]


def comparison_table(result: Reproduction) -> Table:
    """One row for each figure."""
    rows = []
    for entry in result.rows:
        for name, figure in entry.metrics.items():
            our_name = result.metrics[name]
            shown = name
            if our_name != name:
                shown = f"{name} ({our_name})"
            figures = [number(figure.published), number(figure.ours), signed(figure.difference)]
            rows.append([entry.row, entry.method, shown, *figures])
    return Table(["row", "method", "metric (ours)", "published", "ours", "difference"], rows, "lllrrr")


def markdown(result: Reproduction) -> str:
    """The comparison as a Markdown document."""
    scored = sorted({f"{entry.data.name} {entry.scored_on}" for entry in result.rows})
    splits = ", ".join(scored) or "nothing yet"
    about = f"Percent; seed {result.seed}; ours on {splits}. `{result.command}`"
    return "\n".join([f"# {result.title}", "", about, "", comparison_table(result).markdown_as_is(), ""])
