"""docs/performance.md from benchmarks/results/losses.json, and from nothing else; a test keeps the two equal."""

from collections.abc import Sequence
from pathlib import Path

from losses_records import (
    LedCost,
    LossesStudy,
    MdkdCost,
    MskdCost,
    Promise,
    Sizes,
    Spread,
    StepCost,
    StepsCost,
    TermCost,
)
from tables import code_block, origin

from mlkdc.figures import DASH, counted, number, threads
from mlkdc.tables import Table

DOCUMENT = Path(__file__).parents[1] / "docs" / "performance.md"


def significant(value: float) -> str:
    """Three figures that count."""
    if value >= 100:
        return number(value, 0)
    if value >= 1e-3 or value == 0:
        return f"{value:.3g}"
    return f"{value:.1e}"


def span(spread: Spread) -> str:
    """Median, and 10th to 90th percentile over the passes."""
    return f"{significant(spread.median)} ({significant(spread.p10)}–{significant(spread.p90)})"


def percent(fraction: Spread) -> str:
    """A fraction of a step, with its spread."""
    median, low, high = 100 * fraction.median, 100 * fraction.p10, 100 * fraction.p90
    return f"{significant(median)} ({significant(low)}–{significant(high)}) %"


def mebi(size_bytes: float) -> str:
    """Bytes in MiB."""
    return significant(size_bytes / 2**20)


def targets(promises: Sequence[Promise]) -> list[str]:
    """Each promise: met or missed, and by how much."""
    lines, missed = [], []
    for promise in promises:
        verdict = "met"
        if not promise.met:
            verdict = "**missed**"
            missed.append(promise.what)
        limit, measured = _with_unit(promise.limit, promise.unit), _with_unit(promise.measured, promise.unit)
        target = f"{promise.sense} {limit}"
        lines.append([promise.what, target, measured, verdict, significant(_headroom(promise))])
    summary = "All targets were met."
    if missed:
        summary = f"Missed: {'; '.join(missed)}."
    head = ["", "target", "measured", "", "headroom"]
    return ["## Targets", f"Medians of this run. {summary}", Table(head, lines, "lrrlr").markdown_as_is()]


def _with_unit(value: float, unit: str) -> str:
    return f"{significant(value)} {unit}".strip()


def _headroom(promise: Promise) -> float:
    """How many times better than the limit."""
    if promise.sense == "at least":
        return promise.measured / promise.limit
    return promise.limit / max(promise.measured, 1e-12)


def led(cost: LedCost, sizes: Sizes) -> list[str]:
    """L2D's distances."""
    groups = "loop over classes and images, one distance matrix each, float32 (as L2D's release)"
    pairs = "loop over pairs, float64 (the tests' oracle)"
    lines = [
        ["mlkdc", span(cost.ours_ms), "1"],
        [groups, span(cost.by_group_ms), span(cost.by_group_ratio)],
        [pairs, span(cost.by_pair_ms), span(cost.by_pair_ratio)],
    ]
    return [
        "## LED: CD and ID of `l2d`",
        f"b = {sizes.images}, q = {sizes.labels}, d = {sizes.dim}, forward and backward pass. Peak memory "
        f"{mebi(cost.peak_bytes)} MiB, gradient included. The target is relative to the loop over pairs, most of whose "
        "time is Python's. The loop over groups is what the authors' release does: the gain over it is the smaller "
        f"figure. Relative difference of the value from the oracle's: {significant(cost.difference)}.",
        Table(["", "ms", "times mlkdc's"], lines, "lrr").markdown_as_is(),
    ]


def mdkd(cost: MdkdCost) -> list[str]:
    """Orders, and enumeration."""
    orders = [[f"order {row.orders}", span(row.ms), mebi(row.peak_bytes)] for row in cost.orders]
    return [
        "## MDKD",
        f"b = {cost.images}, q = 80, BD and ID of these orders together, forward and backward pass. The orders share "
        f"their sums, so that the highest one hardly matters: 6 / 4: {span(cost.order_6_over_4)}; 2-6 / 2-4: "
        f"{span(cost.orders_2_6_over_2_4)}.",
        Table(["", "ms", "peak MiB"], orders, "lrr").markdown_as_is(),
        "Enumeration of orders 2 to 4, float64, image by image as the tests' oracle does (a good part of it is making "
        "the list of paths), and for all images at once with the list made before. The last line multiplies the one "
        "before by the number of paths. Difference: the largest relative one of any term from the enumerated value.",
        _enumeration_table(cost),
    ]


def _enumeration_table(cost: MdkdCost) -> str:
    lines = []
    for row in cost.enumeration:
        times = [span(row.ours_ms), span(row.loop_ms), span(row.at_once_ms)]
        memory = mebi(row.at_once_peak_bytes)
        lines.append([str(row.labels), f"{row.paths:,}", *times, memory, significant(row.difference)])
    last = cost.extrapolated
    extrapolated = [significant(last.loop_ms), significant(last.at_once_ms), mebi(last.at_once_peak_bytes)]
    ours = span(cost.of_orders("2-4").ms)
    lines.append([f"{last.labels}, extrapolated", f"{last.paths:,}", ours, *extrapolated, "not measured"])
    head = ["q", "paths", "mlkdc, ms", "loop, ms", "at once, ms", "at once, peak MiB", "difference"]
    return Table(head, lines, "lrrrrrr").markdown_as_is()


def terms(study: LossesStudy) -> list[str]:
    """Every registered term."""
    sizes = study.sizes
    student, teacher = _shapes(sizes, 0), _shapes(sizes, 1)
    return [
        "## Every loss term",
        f"Each by itself, in its default form, on random outputs of a batch of {sizes.images} images, {sizes.labels} "
        f"labels of which an image has {number(study.positives_per_image, 1)} on average (as in COCO, one label in "
        f"half of the images), embeddings of {sizes.dim}, pooled features of {sizes.pooled[0]} and "
        f"{sizes.pooled[1]}; feature maps of the student {student} and of the teacher {teacher}. Forward and "
        "backward pass, through the objective, with the terms' layers.",
        "Peak: what torch's allocator held above the inputs at the worst moment of both passes, gradients included, "
        "from the profiler's memory events; scratch space inside the matrix libraries is not seen. Largest: the "
        "largest single allocation. The two columns of percentages are from another run, at sizes where a tensor of "
        "b q² (b = 16, q = 512, d = 8) or b q d² (16, 16, 512) elements would be by far the largest: how large the "
        "largest allocation is compared with it. A tensor of b qⁿ with n above 2 would be larger still. The loop is "
        "the tests' oracle, once, in float64.",
        _term_table(study.terms, study.loop_limit_seconds),
    ]


def _shapes(sizes: Sizes, side: int) -> str:
    return " ".join("x".join(map(str, shape)) for shape in sizes.stages[side])


def _term_table(rows: Sequence[TermCost], loop_limit_seconds: float) -> str:
    kinds = list(rows[0].largest_fractions)
    lines = []
    for row in rows:
        methods = ", ".join(row.methods) or DASH
        line = [f"`{row.name}`", methods, span(row.ms), mebi(row.peak_bytes), mebi(row.largest_bytes)]
        line += [f"{100 * row.largest_fractions[kind]:.2g}" for kind in kinds]
        lines.append([*line, *_loop_cells(row, loop_limit_seconds)])
    head = ["term", "in", "ms", "peak MiB", "largest MiB"]
    head += [f"% of {kind}" for kind in kinds]
    head += ["loop, ms", "loop / term"]
    return Table(head, lines, f"llrrr{'r' * len(kinds)}rr").markdown_as_is()


def _loop_cells(row: TermCost, loop_limit_seconds: float) -> list[str]:
    """Its milliseconds and how many times the term's, or why there are none."""
    if row.loop_ms is not None:
        return [significant(row.loop_ms), significant(row.loop_ms / row.ms.median)]
    if row.enumerates:
        return ["see above", ""]
    if row.has_loop:
        return [f"> {number(1e3 * loop_limit_seconds, 0)}", ""]
    return [DASH, ""]


def steps(cost: StepsCost) -> list[str]:
    """Complete training steps."""
    vanilla = cost.of_method("vanilla")
    lines = []
    for row in sorted(cost.rows, key=lambda row: row.ratio.median):
        without_teacher = ""
        if row.ratio_without_teacher is not None:
            without_teacher = span(row.ratio_without_teacher)
        epoch = significant(row.ratio.median * row.steps_in_an_epoch)
        lines.append([f"`{row.name}`", span(row.ratio), without_teacher, epoch, _reasons(row)])
    head = ["method", "step / vanilla", "without teacher", "epoch / vanilla", ""]
    return [
        "## A training step of every method",
        f"{cost.student} at {cost.image_size} px, batches of {cost.batch_size}, {cost.labels} labels, "
        f"compact heads, untrained; teacher {cost.teacher} at the same size. From the decoded images to the "
        "optimizer's update, by the trainer that `mlkdc distill` uses. In units of vanilla's step in the same pass. "
        "Without teacher: its outputs known, as when an earlier run has left them in the cache. An epoch counts the "
        "number of steps too. "
        f"Vanilla: {span(vanilla.ms)} ms here.",
        Table(head, lines, "lrrrl").markdown_as_is(),
    ]


def _reasons(row: StepCost) -> str:
    """What a step has beyond vanilla's."""
    clauses = [_reason(source, row) for source in row.sources]
    return "; ".join(filter(None, clauses))


def _reason(source: str, row: StepCost) -> str:
    if source == "teacher":
        clause = f"teacher's forward pass {percent(row.source_fractions[source])} of the step"
        if not row.cacheable:
            clause += "; feature maps are never cached: it cannot be saved"
        return clause
    if source == "patches":
        return f"four crops of each image {percent(row.source_fractions[source])} of the step"
    if source == "previous":
        return f"forward pass one step behind {percent(row.source_fractions[source])}"
    if source == "last_batch":
        times = significant(row.steps_in_an_epoch)
        return f"half of a batch is that of the step before: {times} times the steps in an epoch"
    words = {
        "twin": "two views of each image in one pass: twice the images",
        "samples": "the head drawn several times",
    }
    return words.get(source, "")


def mskd(cost: MskdCost, step: StepCost) -> list[str]:
    """What MSKD's step is made of."""
    names = {
        "patches": "cutting four crops and passing them, without gradient",
        "previous": "a pass with the weights of one step ago, without gradient",
    }
    lines = [["a step of vanilla", percent(cost.vanilla_fraction)]]
    for source, fraction in step.source_fractions.items():
        lines.append([names[source], percent(fraction)])
    lines.append(["LSD, RSD and SSD, labels of this data", percent(cost.arithmetic_fraction)])
    lines.append(["LSD, RSD and SSD, 80 labels", percent(cost.arithmetic_80_labels_fraction)])
    return [
        "## MSKD: where the time goes",
        "Fractions of its step, each of the same pass. What is missing from 100 % is the head on the regions, with "
        "gradient, and copying the weights. The arithmetic is the terms' forward and backward pass "
        f"on the outputs of this training and on random ones of 80 labels (peak {mebi(cost.peak_bytes)} MiB).",
        Table(["", "fraction of the step"], lines, "lr").markdown_as_is(),
    ]


def document(study: LossesStudy) -> str:
    """The complete docs/performance.md."""
    minutes = counted(round(study.seconds / 60), "minute")
    waiting = number(100 * (1 - study.cpu_seconds / study.seconds), 0)
    parts = [
        "# What the losses cost",
        "Written by `python benchmarks/losses.py` from benchmarks/results/losses.json; do not edit by hand.",
        f"One run of {minutes} on {threads(study.threads)}, {study.started[:10]}. Times "
        "are of the processor, not of the clock: nothing here waits, and what else runs on the machine disturbs them "
        f"less (it took {waiting} % of this run). Figures are medians "
        "over passes, with the 10th and 90th percentile in brackets; in a pass every row of a table has its turn, in "
        "random order, and ratios are taken within a pass. Ratios hold on other machines, roughly; milliseconds do "
        "not.",
        *targets(study.targets),
        *led(study.led, study.sizes),
        *mdkd(study.mdkd),
        *terms(study),
        *steps(study.steps),
        *mskd(study.steps.mskd, study.steps.of_method("mskd")),
        code_block([study.command]),
        origin(study.machine, study.versions),
    ]
    return "\n\n".join(parts) + "\n"
