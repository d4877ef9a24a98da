"""All that the page and the Markdown show, as text cells, sentences and drawings."""

from dataclasses import dataclass

from mlkdc.records.report import Report
from mlkdc.records.results import ClassScore
from mlkdc.report import accuracy_tables, artifact_tables, latency_table, run_tables
from mlkdc.report.conditions import conditions_table
from mlkdc.report.curves import Chart, training_charts
from mlkdc.report.headline import Card, cards, facts, minute
from mlkdc.report.latency_charts import DeviceCharts, device_charts
from mlkdc.report.ship import budget_in_words, shipping_sentences
from mlkdc.tables import Table

#: More classes than this are set in two columns, which the screen has room for.
ONE_COLUMN = 12


@dataclass(frozen=True)
class Page:
    """What the templates print.

    Args:
        report: for single values, such as the run's name.
        created: when the report was written, to the minute.
        device_charts: of each device that has any.
        conditions: of the rows; None where none are known.
        to_ship: one sentence for each device; empty where no budget was given.
        budget: in words.
        class_columns: the classes of ``class_table``, in as many columns as the page has.
    """

    report: Report
    created: str
    cards: list[Card]
    facts: list[tuple[str, str]]
    ranked: Table
    decided: Table
    teacher: Table | None
    latency: Table
    latency_conditions: str
    photos: Table | None
    device_charts: list[DeviceCharts]
    conditions: Table | None
    to_ship: list[str]
    budget: str
    artifacts: Table
    tolerances: list[str]
    ladders: list[artifact_tables.Ladder]
    merges: list[artifact_tables.Merge]
    class_table: Table
    class_columns: list[list[ClassScore]]
    history: Table
    gradients: Table | None
    training_charts: list[Chart]
    splits: Table
    machines: Table
    versions: Table


def make_page(report: Report) -> Page:
    """Everything that is shown of a report."""
    results, artifacts = report.results, report.artifacts
    return Page(
        report=report,
        created=minute(report.created),
        cards=cards(report),
        facts=facts(results),
        ranked=accuracy_tables.ranked_table(results.metrics),
        decided=accuracy_tables.decided_table(results.metrics),
        teacher=accuracy_tables.teacher_table(results),
        latency=latency_table.latency_table(report.latency),
        latency_conditions=latency_table.latency_conditions(report.bench),
        photos=latency_table.photo_table(report.latency),
        device_charts=device_charts(report.bench, report.latency),
        conditions=conditions_table(report.latency),
        to_ship=shipping_sentences(report.to_ship),
        budget=budget_in_words(report.to_ship),
        artifacts=artifact_tables.artifact_table(artifacts),
        tolerances=artifact_tables.tolerances(artifacts),
        ladders=artifact_tables.ladders(artifacts),
        merges=artifact_tables.merges(artifacts),
        class_table=accuracy_tables.class_table(results),
        class_columns=_columns(accuracy_tables.ranked_classes(results)),
        history=run_tables.history_table(report.history),
        gradients=run_tables.gradient_table(report.history),
        training_charts=training_charts(report.history),
        splits=run_tables.split_table(results.data),
        machines=run_tables.machine_table(report),
        versions=run_tables.version_table(report),
    )


def _columns(scores: list[ClassScore]) -> list[list[ClassScore]]:
    if len(scores) <= ONE_COLUMN:
        return [scores]
    half = (len(scores) + 1) // 2
    return [scores[:half], scores[half:]]
