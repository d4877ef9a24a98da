"""What stands at the top of a report: four figures, and which model this is."""

from dataclasses import dataclass

from mlkdc.figures import megabytes, number, ratio, scaled, threads
from mlkdc.records.bench import LOCAL, RowTiming
from mlkdc.records.report import LatencyEntry, Report
from mlkdc.records.results import Results


@dataclass(frozen=True)
class Card:
    """One figure with where it is from; without a figure (an empty ``value``), what to run."""

    title: str
    detail: str
    value: str = ""
    unit: str = ""


def cards(report: Report) -> list[Card]:
    """Accuracy, latency, size and parameters."""
    results, model = report.results, report.results.model
    params, _, unit = scaled(model.params).partition(" ")
    macs = f"{scaled(model.macs)} multiply-adds at {model.image_size}\N{NO-BREAK SPACE}px"
    return [
        Card("mAP", f"on the {results.scored_on} split", number(results.metrics.get("mAP"), 1), "%"),
        _latency_card(report),
        _size_card(report),
        Card("parameters", macs, params, unit),
    ]


def facts(results: Results) -> list[tuple[str, str]]:
    """Names and values."""
    model = results.model
    listed = [("method", results.method)]
    if results.teacher is not None:
        listed.append(("teacher", results.teacher.model))
    listed += [
        ("student", f"{model.model}, width {model.width}, {model.head} head"),
        ("input", f"{model.image_size} × {model.image_size} px"),
        ("data", results.data.name),
        ("seed", str(results.seed)),
        ("trained", minute(results.started)),
        ("took", f"{results.training_seconds / 60:.1f} min"),
    ]
    if results.kept is not None:
        listed.append(("weights", results.kept))
    return listed


def minute(moment: str) -> str:
    """A time in ISO 8601 down to the minute, as people write it."""
    return moment.replace("T", " ")[:16]


def _latency_card(report: Report) -> Card:
    best = report.best
    if best is None or best.timing is None:
        return Card("latency", report.missing.bench or "no artifact that passed its parity check was timed")
    return Card("latency", _latency_detail(best, best.timing), number(best.timing.median_ms), "ms")


def _latency_detail(best: LatencyEntry, timing: RowTiming) -> str:
    detail = f"{best.name}, {threads(best.threads)}"
    # The baseline is as fast as itself.
    if best.speedup and best.name != best.speedup.to:
        detail += f", {ratio(best.speedup.value, 1)} as fast as {best.speedup.to}"
    if best.device != LOCAL:
        detail += f", on {best.device}"
    if not timing.stable:
        detail += f"; {timing.verdict}"
    return detail


def _size_card(report: Report) -> Card:
    best = report.best
    # The artifact whose latency stands next to it: the best of each figure would describe no model at all.
    if best is not None and best.name in report.artifacts:
        return Card("size", best.name, megabytes(report.artifacts[best.name].size_bytes, 1), "MB")
    sizes = {}
    for name, manifest in report.artifacts.items():
        if manifest.status == "ok":
            sizes[name] = manifest.size_bytes
    if not sizes:
        return Card("size", report.missing.artifacts or "no artifact passed its parity check")
    name = min(sizes, key=sizes.__getitem__)
    return Card("size", name, megabytes(sizes[name], 1), "MB")
