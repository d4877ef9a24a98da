"""What to ship on each device, for a budget."""

from collections.abc import Mapping

from mlkdc.bench.recommend import Budget, recommend
from mlkdc.records.bench import BenchFile
from mlkdc.records.manifest import Manifest
from mlkdc.records.report import Recommended, ToShip


def to_ship(bench: BenchFile, artifacts: Mapping[str, Manifest], budget: Budget) -> ToShip:
    """One recommendation for each device, of the artifacts that can be read."""
    listed = []
    for item in recommend(bench, artifacts, budget):
        recommended = Recommended(device=item.device, name=None, threads=None, why=item.why)
        if item.row is not None:
            recommended = recommended.model_copy(update={"name": item.row.name, "threads": item.row.threads})
        listed.append(recommended)
    return ToShip(budget_ms=budget.milliseconds, least_map_percent=budget.map_percent, devices=tuple(listed))


def shipping_sentences(shipped: ToShip | None) -> list[str]:
    """One for each device."""
    sentences = []
    for item in shipped.devices if shipped else ():
        verb = "ship " if item.name is not None else ""
        sentences.append(f"{item.device}: {verb}{item.why}.")
    return sentences


def budget_in_words(shipped: ToShip | None) -> str:
    """``8 ms and mAP 60``; empty without one."""
    if shipped is None:
        return ""
    words = f"{shipped.budget_ms:g} ms"
    if shipped.least_map_percent is not None:
        words += f" and mAP {shipped.least_map_percent:g}"
    return words
