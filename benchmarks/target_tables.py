"""The tables of docs/targets.md: artifacts, the gain of each optimization, int8 steps."""

from collections.abc import Mapping, Sequence

from steps import BASELINE_STEP, STEPS
from study_records import Int8Figures, Shipped, StudentEntry

from mlkdc.figures import DASH, megabytes, number, scientific
from mlkdc.figures import threads as threads_in_words
from mlkdc.records.bench import BASELINE, RowTiming
from mlkdc.records.parity import Parity, ParityFigures, Promise
from mlkdc.tables import Table

#: How much faster than the baseline the best artifact should be, at no more than LOSS points of mAP.
AIMS = {"mobilenetv2": 4.0, "repvgg_a0": 5.0, "shufflenetv2_x1_0": 3.0}
LOSS = 0.5
THREADS = (1, 2)


def timings(entry: StudentEntry, threads: int) -> dict[str, RowTiming]:
    """The timed rows of one thread count by name."""
    timed = {}
    for row in entry.bench.rows:
        if row.threads == threads and row.timing is not None:
            timed[row.name] = row.timing
    return timed


def loses_little(parity: Parity) -> bool:
    """Whether the answers as they are, nothing forgiven, lose at most LOSS points of mAP."""
    comparison = parity.comparison
    if comparison is None or comparison.figures is None:
        return False
    return comparison.map_torch_percent - comparison.figures.map_artifact_percent <= LOSS


def usable(entry: StudentEntry, threads: int) -> list[str]:
    """Names of the artifacts that may be shipped and lose little, fastest first."""
    timed = timings(entry, threads)
    names = []
    for name, artifact in entry.artifacts.items():
        if name in timed and artifact.status == "ok" and loses_little(artifact.parity):
            names.append(name)
    return sorted(names, key=lambda name: timed[name].median_ms)


def verdict(entry: StudentEntry) -> str:
    """The aim and what was reached, for each thread count."""
    aim = AIMS[entry.model.model]
    reached = []
    for threads in THREADS:
        timed, name = timings(entry, threads), usable(entry, threads)[0]
        baseline, fastest = timed[BASELINE_STEP], timed[name]
        speedup = baseline.median_ms / fastest.median_ms
        outcome = "met"
        if speedup < aim:
            outcome = f"missed by {number(aim - speedup)}"
        artifact = f"`{name}`"
        if not (baseline.stable and fastest.stable):
            artifact += ", timings not known to be stable"
        reached.append(f"with {threads_in_words(threads)} {number(speedup)} times ({artifact}): {outcome}")
    return (
        f"Aim: {aim:g} times as fast as *{BASELINE_STEP}*, with mAP at most {LOSS} points below the torch "
        f"model's. Reached {'; '.join(reached)}."
    )


def drops(figures: ParityFigures | Int8Figures | None) -> list[str]:
    """mAP, its drop, and the drop of the worst class's AP."""
    if figures is None:
        return [DASH] * 3
    return [
        number(figures.map_artifact_percent),
        number(figures.map_drop_points),
        number(figures.worst_class_drop_points),
    ]


def artifact_table(entry: StudentEntry) -> str:
    """One line per artifact and baseline."""
    head = ["", "MB", "mAP", "drop", "worst class's drop", "largest difference", "flips, %", "status"]
    for threads in THREADS:
        head += [f"ms, {threads_in_words(threads)}", "speedup"]
    sizes = {row.name: row.size_bytes for row in entry.bench.rows}
    lines = []
    for name in [BASELINE_STEP, BASELINE, *entry.artifacts]:
        cells = [name, megabytes(sizes[name], 1), *_parity_cells(entry, name)]
        for threads in THREADS:
            cells += _time_cells(timings(entry, threads), name)
        lines.append(cells)
    return Table(head, lines, "lrrrrrrlrrrr").markdown_as_is()


def other_images(entry: StudentEntry) -> list[str]:
    """What int8 may lose on images that did not choose the ladder's step, where that was measured."""
    lines = []
    for name, artifact in entry.artifacts.items():
        if artifact.quantization is None or artifact.status == "failed":
            continue
        if promise := artifact.quantization.promise:
            lines.append([name, *_promise_cells(promise)])
    if not lines:
        return []
    head = ["", "drop", "upper end", "worst class", "its drop", "upper end", "promise"]
    return ["int8 on other images:", Table(head, lines, "lrrlrrl").markdown_as_is()]


def _promise_cells(promise: Promise) -> list[str]:
    """Of mAP and of the worst class: the drop, and how large it may be."""
    figures, upper = promise.figures, DASH
    if figures.worst_class_interval_points is not None:
        upper = number(figures.worst_class_interval_points[1])
    return [
        number(figures.map_drop_points),
        number(promise.map_drop_interval_points[1]),
        figures.worst_class or DASH,
        number(figures.worst_class_drop_points),
        upper,
        "firm" if promise.firm else f"weak: {promise.doubt}",
    ]


def _parity_cells(entry: StudentEntry, name: str) -> list[str]:
    """From mAP to status; empty where nothing was compared."""
    artifact = entry.artifacts.get(name)
    if artifact is None:
        return [""] * 6
    comparison = artifact.parity.comparison
    if comparison is None:
        return [*([""] * 5), artifact.status]
    figures = comparison.figures
    if figures is None:
        return [*([DASH] * 5), artifact.status]
    flips_percent = 100 * figures.label_flips / (comparison.images * entry.data.classes)
    largest = scientific(figures.max_probability_difference)
    return [*drops(figures), largest, number(flips_percent), artifact.status]


def _time_cells(timed: Mapping[str, RowTiming], name: str) -> list[str]:
    timing = timed.get(name)
    if timing is None:
        return [DASH, DASH]
    median = number(timing.median_ms)
    if not timing.stable:
        median += " *"
    return [median, number(timed[BASELINE_STEP].median_ms / timing.median_ms)]


def from_files(entry: StudentEntry) -> list[str]:
    """What the fastest artifact takes from a photo's file on, where that was measured."""
    fastest = usable(entry, 1)[0]
    for row in entry.bench.rows:
        if (row.name, row.threads) == (fastest, 1) and row.photos is not None:
            times = row.photos
            return [
                f"From the file of a photo ({number(times.megapixels)} megapixels) on, `{fastest}` takes "
                f"{number(times.total_ms)} ms with 1 thread: {number(times.prepare_ms)} to decode and resize it with "
                f"Pillow, {number(times.run_ms)} to answer (medians of {times.photos} photos, one after another: with "
                "other work in between the model is slower than in a row)."
            ]
    return []


def skipped(entry: StudentEntry) -> list[str]:
    """Why rows are missing or have no latency."""
    reasons = dict(entry.missing)
    for row in entry.bench.rows:
        if row.skipped is not None:
            reasons[row.name] = row.skipped
    if not reasons:
        return []
    return ["\n".join(f"- `{name}` skipped: {reason}" for name, reason in reasons.items())]


def merged(artifact: Shipped) -> str:
    """What merging and folding saved."""
    report = artifact.merge
    before, after = report.before, report.after
    backbone = f"backbone {_millions(before.macs_backbone)} to {_millions(after.macs_backbone)}"
    head = f"head {_millions(before.macs_head)} to {_millions(after.macs_head)}"
    return (
        f"Merged: {report.branches} branches, {report.conv_bn} BatchNorms. Million multiply-adds: {backbone}, {head}. "
        f"Largest difference of a logit: {scientific(report.max_logit_difference)}."
    )


def _millions(count: int) -> str:
    return number(count / 1e6, 1)


def gain_table(entry: StudentEntry) -> str:
    """Every optimization next to the step before it."""
    steps = {**STEPS, "onnx-fp32": "what the head's constant queries decide folded, graph slimmed", "onnx-int8": "int8"}
    for fastest in usable(entry, 2)[:1]:
        steps.setdefault(fastest, "the fastest runtime and precision")
    head = ["step", "optimization"]
    for threads in THREADS:
        head += [f"ms, {threads_in_words(threads)}", "gain"]
    lines: list[list[str]] = []
    before: list[RowTiming] = []
    for name, optimization in steps.items():
        timed = _at_all_threads(entry, name)
        if not timed:
            lines.append([name, f"{optimization}: not shipped, see above", *([DASH] * 4)])
            continue
        lines.append([name, optimization, *_gain_cells(timed, before)])
        before = timed
    return Table(head, lines, "llrrrr").markdown_as_is()


def _at_all_threads(entry: StudentEntry, name: str) -> list[RowTiming]:
    """The timings of a row; none where one of them is missing."""
    timed = []
    for threads in THREADS:
        timing = timings(entry, threads).get(name)
        if timing is None:
            return []
        timed.append(timing)
    return timed


def _gain_cells(timed: Sequence[RowTiming], before: Sequence[RowTiming]) -> list[str]:
    """Each median, and how many times faster than the step before; the first step has none."""
    cells = []
    for index, timing in enumerate(timed):
        gain = ""
        if before:
            gain = number(before[index].median_ms / timing.median_ms)
        cells += [number(timing.median_ms), gain]
    return cells


def ladders(entry: StudentEntry) -> list[str]:
    """The int8 ladders that went beyond their first step."""
    parts = []
    for name, artifact in entry.artifacts.items():
        if artifact.quantization is None or len(artifact.quantization.steps) < 2:
            continue
        lines = []
        for step in artifact.quantization.steps:
            lines.append([step.step, *drops(step.figures), "yes" if step.passed else "no"])
        head = ["step", "mAP", "drop", "worst class's drop", "within tolerance"]
        parts += [f"Steps of `{name}`:", Table(head, lines, "lrrrl").markdown_as_is()]
    return parts
