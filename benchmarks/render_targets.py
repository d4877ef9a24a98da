"""docs/targets.md from the shipped target files and benchmarks/results/targets.json; a test keeps them equal.

python benchmarks/render_targets.py
"""

import json
from pathlib import Path
from typing import Any

from baselines import STEPS
from tables import NICE, origin, table

from mlkdc.exporting.parity import LEAST_POSITIVES
from mlkdc.runtime.targets import load_target, target_names

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "targets.json"
# The same study on a processor without VNNI, of students that had been trained for less.
WITHOUT = HERE / "results" / "targets-avx2.json"
INT8 = HERE / "results" / "int8.json"
DOCUMENT = HERE.parent / "docs" / "targets.md"
#: How much faster than what is exported without mlkdc the best artifact should be, at no more than LOSS points of mAP.
AIMS = {"mobilenetv2": 4.0, "repvgg_a0": 5.0, "shufflenetv2_x1_0": 3.0}
LOSS = 0.5

NOTES = """
- Where a target's runtime cannot run, nothing is compared (`coreml` on Linux), or the graph that the file is built
  from is (`tensorrt` without a GPU); the manifest says `unverified`.
- A batch of any size (`--dynamic`): `onnx`, `openvino` (a little slower one by one) and `tensorrt` (up to 32).
  Pixels as bytes (`--uint8`): all but `ncnn` and `coreml`. Channels last: `litert`; the manifest tells the
  layout.
- `openvino` is asked for float32 arithmetic on every CPU, so that an artifact answers the same everywhere. fp16
  is that of the file: half the size, no other speed.
- int8 weights of `onnx` and `openvino` use half of their range (`export.reduce_range`): x86 processors without
  VNNI add pairs of products in 16 bits, which saturate with all of it. With `--no-reduce-range` they use all;
  such an artifact is for Arm and x86 with VNNI, and is refused by Linux on other x86 processors.
- Megabytes are of all files of an artifact; `tensorrt` has the ONNX graph beside the engine.
- The extra `tensorrt` installs TensorRT-RTX, which builds engines without a GPU. Where `tensorrt` itself is
  installed and there is a GPU, that is used. An engine runs only with exactly the library version that built
  it; the `model.onnx` beside it builds another.
- `executorch` from Python needs torch; the C++ runtime of a phone does not.
"""

#: What int8 is worth, by whether the processor has VNNI and int8 weights are kept to half of their range.
WORTH = {
    (True, False): """
int8 is worth what the processor gives for it. This one has int8 dot products (VNNI), and the artifacts were exported
with `export.reduce_range: false`; what is left on one without them is [below](#without-vnni).
""",
    (False, True): """
int8 is worth what the processor gives for it. This one has no int8 dot products (VNNI): it multiplies eight-bit
numbers little faster than floats, and adds them in 16 bits, for which `onnx` and `openvino` leave half of a weight's
range unused.
""",
}

Found = dict[str, Any]


def listed() -> list[str]:
    """What there is, from the target files."""
    header = ["target", "precisions", "what", "to install", "compared through"]
    lines, notes = [], []
    for name in target_names():
        target = load_target(name)
        lines.append(
            [
                f"`{name}`",
                ", ".join(target.precisions),
                target.description,
                f"`{target.install}`",
                f"{target.runtime}, else {target.proxy}" if target.proxy else target.runtime,
            ]
        )
        if target.unverified:
            notes.append(f"- `{name}`: {target.unverified}")
    return [table(header, lines), "To know:\n\n" + NOTES.strip(), "Not verified by the authors:\n\n" + "\n".join(notes)]


def medians(found: Found, threads: int) -> dict[str, Found]:
    """The timed rows of one thread count by name."""
    return {row["name"]: row for row in found["rows"] if row["threads"] == threads and not row["skipped"]}


def loss(parity: Found) -> float:
    """Points of mAP, of the answers as they are."""
    return parity["mAP_torch"] - parity["mAP_artifact"]


def fit(found: Found, threads: int) -> list[str]:
    """Names of the artifacts that may be shipped and lose at most LOSS points, fastest first."""
    timed = medians(found, threads)
    names = [
        name
        for name, item in found["artifacts"].items()
        if name in timed and item["status"] == "ok" and loss(item["parity"]) <= LOSS
    ]
    return sorted(names, key=lambda name: timed[name]["median_ms"])


def verdict(student: str, found: Found) -> str:
    """The aim and what was reached, for each thread count."""
    said = []
    for threads in (1, 2):
        timed, names = medians(found, threads), fit(found, threads)
        words = f"with {threads} thread{'s' * (threads > 1)}"
        pair = [timed["today"], timed[names[0]]]
        ratio = pair[0]["median_ms"] / pair[1]["median_ms"]
        missed = "met" if ratio >= AIMS[student] else f"missed by {AIMS[student] - ratio:.2f}"
        unsettled = "" if all(row["stable"] for row in pair) else ", timings that did not settle"
        said.append(f"{words} {ratio:.2f} times (`{names[0]}`{unsettled}): {missed}")
    return (
        f"Aim: {AIMS[student]:g} times as fast as *today*, at most {LOSS} points of mAP below the torch model. "
        f"Reached {'; '.join(said)}."
    )


def number(value: float | None, form: str = ".2f") -> str:
    """A figure, or a dash where there is none."""
    return "-" if value is None else f"{value:{form}}"


def _time(row: Found | None, baseline: Found) -> list[str]:
    if row is None:
        return ["-", "-"]
    steady = "" if row["stable"] else " *"
    return [f"{row['median_ms']:.2f}{steady}", f"{baseline['median_ms'] / row['median_ms']:.2f}"]


def falls(item: Found) -> list[str]:
    """mAP, its fall, and the change of the worst class, of a parity entry or a step of the ladder."""
    worst = item["worst_class_drop"]
    return [
        number(item["mAP_artifact"]),
        number(item["mAP_drop"]),
        number(worst if worst is None else 0.0 - worst, "+.2f"),
    ]


def artifacts(found: Found) -> str:
    """One line per artifact and baseline."""
    header = ["", "MB", "mAP", "fall", "worst class", "largest difference", "flips, %", "status"]
    header += ["ms, 1 thread", "today / this", "ms, 2 threads", "today / this"]
    one, two = medians(found, 1), medians(found, 2)
    sizes = {row["name"]: row["size_bytes"] for row in found["rows"]}
    lines = []
    for name in ["today", "torch eager", *found["artifacts"]]:
        item = found["artifacts"].get(name, {"status": "", "parity": {}})
        parity, cells = item["parity"], [""] * 5
        if "mAP_artifact" in parity:
            decisions, flips = parity["images"] * found["data"]["classes"], parity["label_flips"]
            largest = number(parity["max_probability_difference"], ".1e")
            cells = [*falls(parity), largest, number(flips and 100 * flips / decisions)]
        times = [*_time(one.get(name), one["today"]), *_time(two.get(name), two["today"])]
        lines.append([name, f"{sizes[name] / 1e6:.1f}", *cells, item["status"], *times])
    return table(header, lines)


def skipped(found: Found) -> list[str]:
    """Why rows are missing or have no latency."""
    reasons = found["missing"] | {row["name"]: row["skipped"] for row in found["rows"] if row["skipped"]}
    return ["\n".join(f"- `{name}` skipped: {why}" for name, why in reasons.items())] if reasons else []


def folded(found: Found) -> str:
    """What merging and folding took away."""
    merge = found["artifacts"]["onnx-fp32"]["merge"]
    counts = [
        f"{part} {merge[f'macs_{part}_before'] / 1e6:.1f} to {merge[f'macs_{part}_after'] / 1e6:.1f}"
        for part in ("backbone", "head")
    ]
    return (
        f"Merged: {merge['branches']} branches, {merge['conv_bn']} BatchNorms. Million multiply-adds: "
        f"{', '.join(counts)}. Largest difference of a logit: {merge['max_logit_difference']:.1e}."
    )


def techniques(found: Found) -> str:
    """What each step bought, one at a time, as ratios to the step before."""
    header = ["step", "what", "ms, 1 thread", "times the step before", "ms, 2 threads", "times the step before"]
    steps = {**STEPS, "onnx-fp32": "what the head's constant queries decide folded, graph slimmed", "onnx-int8": "int8"}
    for best in fit(found, 2)[:1]:
        steps.setdefault(best, "the fastest runtime and precision")
    lines: list[list[str]] = []
    before: list[Found] = []
    for name, what in steps.items():
        rows = [medians(found, threads)[name] for threads in (1, 2) if name in medians(found, threads)]
        if len(rows) < 2:
            lines.append([name, f"{what}: not shipped, see above", "-", "-", "-", "-"])
            continue
        cells = [name, what]
        for index, row in enumerate(rows):
            gain = f"{before[index]['median_ms'] / row['median_ms']:.2f}" if before else ""
            cells += [f"{row['median_ms']:.2f}", gain]
        lines.append(cells)
        before = rows
    return table(header, lines)


def ladders(found: Found) -> list[str]:
    """The int8 ladders that went beyond their first step."""
    parts = []
    for name, item in found["artifacts"].items():
        steps = (item["quantization"] or {}).get("steps", [])
        if len(steps) > 1:
            header = ["step", "mAP", "fall", "worst class", "enough"]
            lines = [[step["step"], *falls(step), "yes" if step["passed"] else "no"] for step in steps]
            parts += [f"`{name}` climbed:", table(header, lines)]
    return parts


def worth(study: Found) -> list[str]:
    """What int8 can gain on the processor, where all students' artifacts take one range."""
    found = {
        (student["machine"].get("vnni"), item["details"]["reduce_range"])
        for student in study["students"].values()
        for item in student["artifacts"].values()
        if "reduce_range" in item["details"]
    }
    return [" ".join(WORTH[each].split()) for each in found if len(found) == 1 and each in WORTH]


def without_vnni() -> list[str]:
    """What the best artifacts reached on a processor that has no int8 dot products."""
    if not WITHOUT.is_file():
        return []
    students = json.loads(WITHOUT.read_text())["students"]
    return [
        "## Without VNNI",
        "The same on a processor that has AVX2 and no int8 dot products, with int8 weights in half of their range, of "
        "students that were trained for less. It was a noisier machine: most timings did not settle.",
        "\n".join(f"- {NICE[student]}: {verdict(student, found)}" for student, found in students.items()),
        origin([next(iter(students.values()))]),
    ]


def repvgg() -> list[str]:
    """Ways of making RepVGG int8, where they were measured."""
    if not INT8.is_file():
        return []
    study = json.loads(INT8.read_text())
    header = ["runtime", "weights", "ranges", "mAP", "fall", "worst class", "labels flipped"]
    lines = [
        [row["target"], row["weights"], row["ranges"], *falls(row), number(row["label_flips"], "d")]
        for row in study["rows"]
    ]
    first = study["rows"][0]
    return [
        "## RepVGG in int8",
        f"{NICE[study['student']]}, every convolution and linear layer in int8; mAP in torch {first['mAP_torch']:.2f}; "
        f"{first['images']} validation images, {first['calibration']} training images to calibrate. Clipped: ranges of "
        "activations without outliers. Weights take the whole of the int8 range where it does not say half. Equalized "
        "is what the recipe option `export.equalize` does.",
        table(header, lines),
        f"```\n{study['command']}\n```",
        origin([study]),
    ]


def student_parts(student: str, found: Found) -> list[str]:
    """One student."""
    (small, large), timed = found["seconds"], found["rows"][0]
    about = (
        f"mAP of the torch model {found['metrics']['mAP']:.2f} on {found['scored_on']} (trained for {small / 60:.0f} "
        f"minutes at 96 px and {large / 60:.0f} at {found['image_size']} px, seed {found['seed']}). "
        f"Each time is the median of {timed['runs']} calls, {timed['passes']} "
        f"process{'es' * (timed['passes'] > 1)} a row, rows taking turns."
    )
    parts = [f"### {NICE[student]}", about, verdict(student, found), artifacts(found), *skipped(found), folded(found)]
    parts += ["What bought what:", techniques(found), *ladders(found)]
    return [*parts, "```\n" + "\n".join(found["commands"]) + "\n```", origin([found])]


def tools(found: Found) -> str:
    """Versions of all that exported."""
    known = {name: number for item in found["artifacts"].values() for name, number in item["versions"].items()}
    return "Exported with " + ", ".join(f"{name} {number}" for name, number in sorted(known.items())) + "."


def measured(study: Found) -> list[str]:
    """All students."""
    first = next(iter(study["students"].values()))
    images = first["artifacts"]["onnx-fp32"]["parity"]["images"]
    parts = [
        "## Measured",
        f"Students distilled on {first['data']['name']} ({first['data']['images']['train']} training images, "
        f"{first['data']['classes']} labels) from random weights and in little time: their mAP is low, what exporting "
        f"loses of it is what is shown, on {images} validation images. Batch 1, each row in a process of its own; a * "
        "marks a row whose timing did not settle.",
        "*today*: the same backbone, nothing merged, with the papers' decoder of 768, exported by a plain "
        "`torch.onnx.export` and run by ONNX Runtime in fp32. Its head has random weights: it is there for its time, "
        "its accuracy was not measured. It takes normalized pictures and gives logits; artifacts of mlkdc normalize "
        "and take the sigmoid themselves, in the times shown. Fall: of mAP in points, from the torch model; worst "
        "class: change of the AP of the class that lost most, of those with at least "
        f"{LEAST_POSITIVES} positive images.",
        *worth(study),
        "```\npython benchmarks/targets.py --data PHOTOS --weights WEIGHTS\n```",
        tools(first),
    ]
    for student, found in study["students"].items():
        parts += student_parts(student, found)
    return parts


def document() -> str:
    """The whole of docs/targets.md."""
    parts = [
        "# Targets",
        "Written by `python benchmarks/render_targets.py` from the target files in export/ and the JSON in "
        "benchmarks/results; do not edit by hand.",
        *listed(),
    ]
    if RESULTS.is_file():
        parts += measured(json.loads(RESULTS.read_text()))
    parts += [*without_vnni(), *repvgg()]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
