"""What several documents show: names, spreads over seeds, and where figures are from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, stdev

from study_records import Training

from mlkdc.figures import counted, number
from mlkdc.records.bench import LOCAL, BenchFile
from mlkdc.records.machine import Machine

NICE = {
    "tf_efficientnet_lite0": "EfficientNet-Lite0",
    "tf_efficientnet_lite2": "EfficientNet-Lite2",
    "mobilenetv2": "MobileNetV2",
    "repvgg_a0": "RepVGG-A0",
    "shufflenetv2_x0_5": "ShuffleNetV2 x0.5",
    "shufflenetv2_x1_0": "ShuffleNetV2 x1.0",
    "resnet10t": "ResNet-10-T",
}


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation, or the only value."""
    if len(values) == 1:
        return number(values[0])
    return f"{number(mean(values))} ± {number(stdev(values))}"


def paired(scores: Mapping[int, float], baseline: Mapping[int, float]) -> list[float]:
    """Score minus the baseline's of the same seed, for the seeds that both have."""
    return [score - baseline[seed] for seed, score in scores.items() if seed in baseline]


def origin(machine: Machine, versions: Mapping[str, str]) -> str:
    """The machine and the versions of a measurement, in words."""
    parts = [machine.cpu]
    if machine.cores is not None:
        parts.append(counted(machine.cores, "core"))
    if machine.vnni is not None:
        parts.append("VNNI" if machine.vnni else "no VNNI")
    if machine.memory_gib is not None:
        parts.append(f"{machine.memory_gib} GiB")
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"Machine: {', '.join(parts)}. {packages}."


def timed_on(bench: BenchFile) -> str:
    """Where the rows of a study were timed: on this machine."""
    device = bench.devices[LOCAL]
    return origin(device.machine, device.versions)


def reliability(bench: BenchFile) -> str:
    """How many timings can be relied on, and why the others cannot, in a sentence."""
    timed = [row.timing for row in bench.rows if row.timing is not None]
    by_verdict: dict[str, Counter[str]] = {}
    for timing in timed:
        if not timing.stable:
            by_verdict.setdefault(timing.verdict, Counter())[timing.why] += 1
    parts = [f"{sum(timing.stable for timing in timed)} of {len(timed)} timings are stable"]
    for verdict, reasons in by_verdict.items():
        part = f"{reasons.total()} {verdict}"
        # Several have figures of their own, which are in the JSON.
        if len(reasons) == 1:
            part += f" ({next(iter(reasons))})"
        parts.append(part)
    return f"{', '.join(parts)}."


def code_block(lines: Sequence[str]) -> str:
    """Commands as they are typed."""
    return "\n".join(["```", *lines, "```"])


def first_commands(rows: Sequence[Training]) -> str:
    """The command of each student and method with the lowest seed."""
    commands: dict[tuple[str, str], str] = {}
    for row in sorted(rows, key=lambda row: row.seed):
        commands.setdefault((row.student, row.method), row.command)
    return code_block(list(commands.values()))
