"""What the documents' tables are made of."""

from statistics import mean, stdev
from typing import Any

NICE = {
    "tf_efficientnet_lite0": "EfficientNet-Lite0",
    "tf_efficientnet_lite2": "EfficientNet-Lite2",
    "mobilenetv2": "MobileNetV2",
    "repvgg_a0": "RepVGG-A0",
    "shufflenetv2_x0_5": "ShuffleNetV2 x0.5",
    "shufflenetv2_x1_0": "ShuffleNetV2 x1.0",
    "resnet10t": "ResNet-10-T",
}

Rows = list[dict[str, Any]]


def spread(values: list[float]) -> str:
    """Mean and sample standard deviation, or the one value."""
    return f"{mean(values):.2f} ± {stdev(values):.2f}" if len(values) > 1 else f"{values[0]:.2f}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, the first column to the left."""
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def origin(rows: Rows) -> str:
    """Versions and machine, once."""
    last = rows[-1]
    machine = last["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in last["versions"].items())
    vnni = {True: ", VNNI", False: ", no VNNI"}.get(machine.get("vnni"), "")
    return f"Machine: {machine['cpu']}, {machine['cores']} cores{vnni}, {machine['memory_gib']} GiB. {versions}."


def commands(rows: Rows) -> str:
    """The first command of each student and method."""
    first: dict[tuple[str, str], str] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        first.setdefault((row["student"], row["method"]), row["command"])
    return "```\n" + "\n".join(first.values()) + "\n```"
