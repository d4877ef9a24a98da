"""docs/performance.md from benchmarks/results/losses.json, and from nothing else; a test keeps the two equal."""

from pathlib import Path
from typing import Any

from tables import origin, table

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "losses.json"
DOCUMENT = HERE.parent / "docs" / "performance.md"

Found = dict[str, Any]


def number(value: float) -> str:
    """Three figures that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1e-3 or value == 0 else f"{value:.1e}"


def span(row: dict[str, float]) -> str:
    """Median, and 10th to 90th percentile over the passes."""
    return f"{number(row['median'])} ({number(row['p10'])}–{number(row['p90'])})"


def percent(row: dict[str, float]) -> str:
    """A share, with its spread."""
    return span({name: 100 * value for name, value in row.items()}) + " %"


def mebi(size: float) -> str:
    """Bytes in MiB."""
    return number(size / 2**20)


def targets(found: Found) -> list[str]:
    """Each promise: met or missed, and by how much."""
    header = ["target", "wanted", "measured", "", "factor to spare"]
    lines = []
    for row in found["targets"]:
        spare = row["got"] / row["limit"] if row["sense"] == "at least" else row["limit"] / max(row["got"], 1e-12)
        wanted, got = (f"{number(row[key])} {row['unit']}".strip() for key in ("limit", "got"))
        verdict = "met" if row["met"] else "**missed**"
        lines.append([row["what"], f"{row['sense']} {wanted}", got, verdict, number(spare)])
    missed = [row["what"] for row in found["targets"] if not row["met"]]
    said = "All targets were met." if not missed else f"Missed: {'; '.join(missed)}."
    return ["## Targets", f"Medians of this run. {said}", table(header, lines)]


def led(found: Found) -> list[str]:
    """L2D's distances."""
    row, sizes = found["led"], found["sizes"]
    names = {
        "ours": "mlkdc",
        "groups": "loop over classes and images, one distance matrix each, float32 (as L2D's release)",
        "pairs": "loop over pairs, float64 (the tests' oracle)",
    }
    lines = [
        [words, span(row["ms"][name]), "1" if name == "ours" else span(row["ratio"][name])]
        for name, words in names.items()
    ]
    return [
        "## LED: CD and ID of `l2d`",
        f"b = {sizes['images']}, q = {sizes['labels']}, d = {sizes['dim']}, forward and backward pass. Peak memory "
        f"{mebi(row['peak_bytes'])} MiB, gradient included. The target is against the loop over pairs, most of whose "
        "time is Python's. The loop over groups is what the authors' release does: the gain over it is the smaller "
        f"figure. Relative difference of the value from the oracle's: {number(row['difference']['ours'])}.",
        table(["", "ms", "times mlkdc's"], lines),
    ]


def mdkd(found: Found) -> list[str]:
    """Orders, and enumeration."""
    own = found["mdkd"]
    orders, last = own["orders"], own["extrapolated"]
    lines = [[f"order {name}", span(orders["ms"][name]), mebi(orders["peak_bytes"][name])] for name in orders["ms"]]
    listed = [
        [
            str(row["labels"]),
            f"{row['paths']:,}",
            *(span(row["ms"][key]) for key in ("ours", "loop", "at once")),
            mebi(row["at_once_peak_bytes"]),
            number(row["difference"]),
        ]
        for row in own["enumeration"]
    ]
    now = span(orders["ms"]["2-4"])
    extrapolated = [number(last["loop_ms"]), number(last["at_once_ms"]), mebi(last["at_once_peak_bytes"])]
    listed.append([f"{last['labels']}, extrapolated", f"{last['paths']:,}", now, *extrapolated, "not measured"])
    return [
        "## MDKD",
        f"b = {own['images']}, q = 80, BD and ID of these orders together, forward and backward pass. The orders share "
        "their sums, so that the highest one hardly matters: "
        + "; ".join(f"{name}: {span(ratio)}" for name, ratio in orders["ratio"].items())
        + ".",
        table(["", "ms", "peak MiB"], lines),
        "Enumeration of orders 2 to 4, float64, image by image as the tests' oracle does (a good part of it is making "
        "the list of paths), and for all images at once with the list made before. The last line multiplies the one "
        "before by the number of paths. Difference: the largest relative one of any term from the enumerated value.",
        table(["q", "paths", "mlkdc, ms", "loop, ms", "at once, ms", "at once, peak MiB", "difference"], listed),
    ]


def terms(found: Found) -> list[str]:
    """Every registered term."""
    sizes, limit = found["sizes"], found["loop_limit_s"]
    kinds = list(found["terms"][0]["shares"])
    header = [
        "term",
        "in",
        "ms",
        "peak MiB",
        "largest MiB",
        *(f"% of {kind}" for kind in kinds),
        "loop, ms",
        "loop / term",
    ]
    lines = []
    for row in found["terms"]:
        slow = row["loop_ms"]
        given_up = "see above" if row["enumerates"] else f"> {1e3 * limit:,.0f}" if row["has_loop"] else "-"
        line = [f"`{row['name']}`", ", ".join(row["methods"]) or "-", span(row["ms"]), mebi(row["peak_bytes"])]
        line += [mebi(row["largest_bytes"]), *(f"{100 * row['shares'][kind]:.2g}" for kind in kinds)]
        line += [number(slow), number(slow / row["ms"]["median"])] if slow else [given_up, ""]
        lines.append(line)
    student, teacher = (" ".join("x".join(map(str, shape)) for shape in side) for side in sizes["stages"])
    return [
        "## Every loss term",
        f"Each by itself, in its default form, on random outputs of a batch of {sizes['images']} images, "
        f"{sizes['labels']} labels of which an image has {sizes['positives']:.1f} on average (as in COCO, one label in "
        f"half of the images), embeddings of {sizes['dim']}, pooled features of {sizes['pooled'][0]} and "
        f"{sizes['pooled'][1]}; feature maps of the student {student} and of the teacher {teacher}. Forward and "
        "backward pass, through the objective, with the terms' own layers.",
        "Peak: what torch's allocator held above the inputs at the worst moment of both passes, gradients included, "
        "from the profiler's memory events; scratch space inside the matrix libraries is not seen. Largest: the "
        "largest single allocation. The two columns of shares are of another run, at sizes where a tensor of b q² "
        "(b = 16, q = 512, d = 8) or b q d² (16, 16, 512) elements would be by far the largest: how large the largest "
        "allocation is beside it. A tensor of b qⁿ with n above 2 would be larger still. The loop is the tests' "
        "oracle, once, in float64.",
        table(header, lines),
    ]


def _why(row: Found) -> str:
    share = row["source_share"]
    images = row["steps_in_an_epoch"]
    words = {
        "teacher": lambda: (
            f"teacher's forward pass {percent(share['teacher'])} of the step"
            + ("" if row["cacheable"] else "; feature maps are never cached: it cannot be saved")
        ),
        "patches": lambda: f"four crops of each image {percent(share['patches'])} of the step",
        "previous": lambda: f"forward pass one step behind {percent(share['previous'])}",
        "twin": lambda: "two views of each image in one pass: twice the pictures",
        "samples": lambda: "the head drawn several times",
        "last_batch": lambda: f"half of a batch is the last one's: {number(images)} times the steps in an epoch",
        "last_epoch": lambda: "",
    }
    return "; ".join(filter(None, (words[source]() for source in row["sources"])))


def steps(found: Found) -> list[str]:
    """Whole training steps."""
    own = found["steps"]
    data = own["data"]
    vanilla = next(row for row in own["rows"] if row["name"] == "vanilla")
    lines = []
    for row in sorted(own["rows"], key=lambda row: row["ratio"]["median"]):
        without = row["ratio_without_teacher"]
        epoch = number(row["ratio"]["median"] * row["steps_in_an_epoch"])
        lines.append([f"`{row['name']}`", span(row["ratio"]), span(without) if without else "", epoch, _why(row)])
    return [
        "## A training step of every method",
        f"{own['student']} at {data['image_size']} px, batches of {data['batch_size']}, {data['labels']} labels, "
        f"compact heads, untrained; teacher {own['teacher']} at the same size. From the decoded pictures to the "
        "optimizer's update, by the trainer that `mlkdc distill` uses. In units of vanilla's step in the same pass. "
        "Without teacher: its outputs known, as when an earlier run has left them in the cache. An epoch counts the "
        "number of steps too. "
        f"Vanilla: {span(vanilla['ms'])} ms here.",
        table(["method", "step / vanilla", "without teacher", "epoch / vanilla", ""], lines),
    ]


def mskd(found: Found) -> list[str]:
    """What MSKD's step is made of."""
    own = found["steps"]["mskd"]
    row = next(row for row in found["steps"]["rows"] if row["name"] == "mskd")
    parts = [["a step of vanilla", percent(own["vanilla_share"])]]
    parts += [
        [
            {
                "patches": "cutting four crops and passing them, without gradient",
                "previous": "a pass with the weights of one step ago, without gradient",
            }[name],
            percent(share),
        ]
        for name, share in row["source_share"].items()
    ]
    parts += [
        [f"LSD, RSD and SSD, {name.partition(', ')[2] or 'labels of this data'}", percent(share)]
        for name, share in own["arithmetic_share"].items()
    ]
    return [
        "## MSKD: where the time goes",
        "Shares of its step, each of the same pass. What is missing from 100 % is the head on the regions, with "
        "gradient, and copying the weights. The arithmetic is the terms' forward and backward pass "
        f"on the outputs of this training and on random ones of 80 labels (peak {mebi(own['peak_bytes'])} MiB).",
        table(["", "share of the step"], parts),
    ]


def document(found: Found) -> str:
    """The whole of docs/performance.md."""
    parts = [
        "# What the losses cost",
        "Written by `python benchmarks/losses.py` from benchmarks/results/losses.json; do not edit by hand.",
        f"One run of {found['seconds'] / 60:.0f} minutes on {found['threads']} thread, {found['started'][:10]}. Times "
        "are of the processor, not of the clock: nothing here waits, and what else runs on the machine disturbs them "
        f"less (it took {100 * (1 - found['cpu_seconds'] / found['seconds']):.0f} % of this run). Figures are medians "
        "over passes, with the 10th and 90th percentile in brackets; in a pass every row of a table has its turn, in "
        "random order, and ratios are taken within a pass. Ratios travel to other machines, roughly; milliseconds do "
        "not.",
        *targets(found),
        *led(found),
        *mdkd(found),
        *terms(found),
        *steps(found),
        *mskd(found),
        f"```\n{found['command']}\n```",
        origin([found]),
    ]
    return "\n\n".join(parts) + "\n"
