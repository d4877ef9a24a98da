"""The charts of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from mlkdc.records.results import Epoch
from mlkdc.report.charts import line_chart
from mlkdc.report.svg import Point

#: Losses whose terms differ by more than this factor are drawn by logarithm; else the small ones lie on the axis.
LOG_RANGE = 20


@dataclass(frozen=True)
class Chart:
    """A drawing and the names of its series or groups, in the order of their colors."""

    title: str
    names: list[str]
    svg: Markup


def training_charts(history: Sequence[Epoch]) -> list[Chart]:
    """One chart for each kind of figure that was recorded."""
    if not history:
        return []
    rates: list[Point] = []
    validation: list[Point] = []
    averaged: list[Point] = []
    for epoch in history:
        rates.append((epoch.epoch, epoch.lr))
        if epoch.val_map_percent is not None:
            validation.append((epoch.epoch, epoch.val_map_percent))
        if epoch.val_map_ema_percent is not None:
            averaged.append((epoch.epoch, epoch.val_map_ema_percent))
    charts = [_loss_chart(history)]
    if validation:
        series = {"mAP": validation}
        if averaged:
            series["mAP of averaged weights"] = averaged
        charts.append(_chart("Validation mAP", series, "mAP, %"))
    charts.append(_chart("Learning rate", {"lr": rates}, "lr"))
    return charts


def _loss_chart(history: Sequence[Epoch]) -> Chart:
    total: list[Point] = []
    terms: dict[str, list[Point]] = {}
    for epoch in history:
        total.append((epoch.epoch, epoch.loss))
        for name, value in epoch.terms.items():
            terms.setdefault(name, []).append((epoch.epoch, value))
    # With a single term the sum would be the same line again.
    if len(terms) != 1:
        terms = {"sum": total, **terms}
    positive = []
    for points in terms.values():
        for _, value in points:
            if value > 0:
                positive.append(value)
    title = "Training loss by term, as weighted"
    if positive and max(positive) > LOG_RANGE * min(positive):
        return _chart(title, terms, "loss (log scale)", log=True)
    return _chart(title, terms, "loss")


def _chart(title: str, series: Mapping[str, Sequence[Point]], label: str, log: bool = False) -> Chart:
    return Chart(title, list(series), line_chart(series, x_label="epoch", y_label=label, log=log))
