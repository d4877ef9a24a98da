"""Tables of where the figures are from: data, training, machines and versions."""

import math
from collections.abc import Sequence

from mlkdc.figures import DASH, number
from mlkdc.records.machine import Machine
from mlkdc.records.report import Report
from mlkdc.records.results import DataFacts, Epoch
from mlkdc.tables import Table

MOST_EPOCHS = 20


def split_table(data: DataFacts) -> Table:
    """Number of images by split."""
    rows = [[name, number(count, 0)] for name, count in data.images.items()]
    return Table(["split", "images"], rows, "lr")


def history_table(history: Sequence[Epoch]) -> Table:
    """Training by epoch: at most ``MOST_EPOCHS`` of them, evenly spaced, the last one among them."""
    step = max(1, math.ceil(len(history) / MOST_EPOCHS))
    # Counted from the end: where nothing else was chosen, the last epoch's weights are the ones that were scored.
    shown = list(reversed(history[::-step]))
    columns = {
        "epoch": [str(epoch.epoch) for epoch in shown],
        "loss": [number(epoch.loss, 4) for epoch in shown],
        "validation mAP, %": [number(epoch.val_map_percent) for epoch in shown],
    }
    if any(epoch.val_map_ema_percent is not None for epoch in history):
        columns["averaged, %"] = [number(epoch.val_map_ema_percent) for epoch in shown]
    columns["learning rate"] = [f"{epoch.lr:.3g}" for epoch in shown]
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    return Table(list(columns), rows, "r" * len(columns))


def gradient_table(history: Sequence[Epoch]) -> Table | None:
    """Each term's gradient in the last epoch; None where it was not measured."""
    measured = [epoch for epoch in history if epoch.gradients]
    if not measured:
        return None
    first, last = measured[0].gradients, measured[-1].gradients
    rows = []
    for name, gradient in last.items():
        share = number(100 * gradient.share, 1)
        at_first = DASH
        if name in first:
            at_first = number(100 * first[name].share, 1)
        at_logits = DASH
        if gradient.logits_norm is not None:
            at_logits = f"{gradient.logits_norm:.3g}"
        rows.append([name, f"{gradient.weight:.3g}", at_first, share, f"{gradient.norm:.3g}", at_logits])
    head = ["term", "weight", "share at first, %", "share, %", "norm at the last map", "norm at the logits"]
    return Table(head, rows, "lrrrrr")


def machine_table(report: Report) -> Table:
    """Where it was trained and where it was timed."""
    titles, machines = ["trained on"], [report.results.machine]
    if report.bench is not None:
        for name, device in report.bench.devices.items():
            titles.append(f"timed on {name}")
            machines.append(device.machine)
    rows = [
        ["processor", *[machine.cpu for machine in machines]],
        ["cores", *[number(machine.cores, 0) for machine in machines]],
        ["VNNI", *map(_vnni, machines)],
        ["memory, GiB", *[number(machine.memory_gib, 1) for machine in machines]],
        ["system", *[machine.system for machine in machines]],
        ["device", *[machine.device for machine in machines]],
    ]
    return Table(["", *titles], rows, "l" * (1 + len(titles)))


def _vnni(machine: Machine) -> str:
    if machine.vnni is None:
        return DASH
    return "yes" if machine.vnni else "no"


def version_table(report: Report) -> Table:
    """Package versions at training, export and timing; a stage that recorded none has no column."""
    exported: dict[str, str] = {}
    for manifest in report.artifacts.values():
        # Artifacts of one run are mostly made in one environment; where they differ, the last one is shown.
        exported.update(manifest.versions)
    stages = {"training": report.results.versions, "export": exported}
    if report.bench is not None:
        for name, device in report.bench.devices.items():
            stages[f"timing, {name}"] = device.versions
    stages = {name: versions for name, versions in stages.items() if versions}
    packages: set[str] = set()
    for versions in stages.values():
        packages.update(versions)
    rows = []
    for package in sorted(packages):
        rows.append([package, *[versions.get(package, DASH) for versions in stages.values()]])
    return Table(["package", *stages], rows, "l" * (1 + len(stages)))
