"""docs/targets.md from the shipped target files and benchmarks/results/targets.json; a test keeps them equal.

python benchmarks/render_targets.py
"""

from collections.abc import Sequence
from pathlib import Path

from ladder_records import LadderStudy, VersionsStudy
from promise_records import PromiseStudy
from promise_tables import ladder_times, promise, version_times
from steps import BASELINE_STEP
from study_records import Int8Row, Int8Study, QatStudy, StudentEntry, TargetsStudy
from tables import NICE, code_block, origin, reliability, timed_on
from target_tables import artifact_table, drops, from_files, gain_table, ladders, merged, other_images, skipped, verdict

from mlkdc.exporting.reference import LEAST_POSITIVES
from mlkdc.figures import DASH, counted, number
from mlkdc.records.bench import LOCAL
from mlkdc.resources import write_text
from mlkdc.runtime.targets import Target, load_target, target_names
from mlkdc.tables import Table

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "targets.json"
# The same study on a processor without VNNI, of students that had been trained for less.
WITHOUT = HERE / "results" / "targets-avx2.json"
INT8 = HERE / "results" / "int8.json"
QAT = HERE / "results" / QatStudy.FILE
PROMISE = HERE / "results" / "promise.json"
LADDER = HERE / "results" / LadderStudy.FILE
VERSIONS = HERE / "results" / VersionsStudy.FILE
DOCUMENT = HERE.parent / "docs" / "targets.md"

NOTES = """
- Where a target's runtime cannot run, nothing is compared (`coreml` on Linux), or the graph that the file is built
  from is (`tensorrt` without a GPU); the manifest says `unverified`.
- A batch of any size (`--dynamic`): `onnx`, `openvino` (a little slower one by one) and `tensorrt` (up to 32).
  Pixels as bytes (`--uint8`): all but `ncnn` and `coreml`. Channels last: `litert`; the manifest records the
  layout.
- `openvino` is set to float32 arithmetic on every CPU, so that an artifact predicts the same everywhere. fp16
  refers to the file: half the size, the same speed.
- int8 weights of `onnx` and `openvino` use half of their range (`export.reduce_range`): x86 processors without
  VNNI add pairs of products in 16 bits, which saturate with the full range. With `--no-reduce-range` they use all of
  it; such an artifact is for Arm and x86 with VNNI, and is refused by Linux on other x86 processors.
- Megabytes are of all files of an artifact; `tensorrt` has the ONNX graph next to the engine.
- The extra `tensorrt` installs TensorRT-RTX, which builds engines without a GPU. Where `tensorrt` itself is
  installed and there is a GPU, that is used. An engine runs only with exactly the library version that built
  it; another is built from the `model.onnx` next to it.
- `executorch` from Python needs torch; the C++ runtime of a phone does not.
"""

#: What int8 is worth, by whether the processor has VNNI and int8 weights are kept to half of their range.
WORTH = {
    (True, False): """
What int8 gains depends on the processor. This one has int8 dot products (VNNI), and the artifacts were exported
with `export.reduce_range: false`; what remains on one without them is [below](#without-vnni).
""",
    (False, True): """
What int8 gains depends on the processor. This one has no int8 dot products (VNNI): it multiplies eight-bit
numbers little faster than floats, and adds them in 16 bits, for which `onnx` and `openvino` leave half of a weight's
range unused.
""",
}


def listed() -> list[str]:
    """What there is, from the target files."""
    head = ["target", "precisions", "what", "to install", "compared through"]
    lines, notes = [], []
    for name in target_names():
        target = load_target(name)
        cells = [f"`{name}`", ", ".join(target.precisions), target.description, f"`{target.install}`"]
        lines.append([*cells, _compared_through(target)])
        if target.unverified:
            notes.append(f"- `{name}`: {target.unverified}")
    return [
        Table(head, lines, "lllll").markdown_as_is(),
        "Good to know:\n\n" + NOTES.strip(),
        "Not verified by the authors:\n\n" + "\n".join(notes),
    ]


def _compared_through(target: Target) -> str:
    if target.proxy is None:
        return target.runtime
    return f"{target.runtime}, else {target.proxy}"


def worth(study: TargetsStudy) -> list[str]:
    """What int8 can gain on the processor, where all students' artifacts take the same range."""
    conditions = set()
    for entry in study.students.values():
        for artifact in entry.artifacts.values():
            if artifact.details.reduce_range is not None:
                conditions.add((entry.bench.devices[LOCAL].machine.vnni, artifact.details.reduce_range))
    if len(conditions) != 1:
        return []
    vnni, reduced = conditions.pop()
    if vnni is None or (vnni, reduced) not in WORTH:
        return []
    return [" ".join(WORTH[vnni, reduced].split())]


def without_vnni() -> list[str]:
    """What the best artifacts reached on a processor that has no int8 dot products."""
    if not WITHOUT.is_file():
        return []
    students = TargetsStudy.load_from(WITHOUT).students
    reached = [f"- {NICE[entry.model.model]}: {verdict(entry)}" for entry in students.values()]
    first = next(iter(students.values()))
    return [
        "## Without VNNI",
        "The same on a processor that has AVX2 and no int8 dot products, with int8 weights in half of their range, of "
        "students that were trained for less. It was a noisier machine: most timings were unstable.",
        "\n".join(reached),
        timed_on(first.bench),
    ]


def repvgg() -> list[str]:
    """Ways of making RepVGG int8, where they were measured."""
    if not INT8.is_file():
        return []
    study = Int8Study.load_from(INT8)
    first = study.rows[0]
    return [
        "## RepVGG in int8",
        f"{NICE[study.student]}, every convolution and linear layer in int8; mAP in torch "
        f"{number(first.map_torch_percent)}; {first.images} validation images, {first.calibration_images} training "
        "images to calibrate. Clipped: ranges of activations without outliers. Weights take the full int8 range where "
        "it does not say half. Equalized is what the recipe option `export.equalize` does.",
        *int8_parts(study),
    ]


def fine_tuned() -> list[str]:
    """What fine-tuning for int8 saves, where it was measured."""
    if not QAT.is_file():
        return []
    study = QatStudy.load_from(QAT)
    first = study.rows[0]
    return [
        "## Fine-tuned for int8",
        f"What `--qat-epochs` saves: {NICE[study.student]} on {study.data}, seed {study.seed}, every convolution and "
        f"linear layer in int8, compared with the torch model that was scored: mAP {number(first.map_torch_percent)}; "
        f"{first.images} validation images, {first.calibration_images} training images to calibrate. A negative drop "
        "is the gain of training longer. Fine-tuned weights answer with the rounding in them, so an export does not "
        "correct their biases for it; the rows in which that is done all the same show what it would cost. "
        f"{_next_to_biases(study.rows)}",
        *int8_parts(study),
    ]


def _next_to_biases(rows: Sequence[Int8Row]) -> str:
    """How often fine-tuning is worth more than corrected biases, which cost nothing."""
    corrected: dict[str, float] = {}
    tuned: dict[str, list[float]] = {}
    for row in rows:
        if row.figures is None:
            continue
        drop = row.figures.worst_class_drop_points
        if row.weights != "as scored":
            tuned.setdefault(row.target, []).append(drop)
        elif "biases corrected" in row.ranges:
            corrected[row.target] = drop
    better = sum(min(drops) < corrected[target] for target, drops in tuned.items())
    return (
        f"In its worst class, fine-tuning loses less than corrected biases without it on {better} of {len(tuned)} "
        "targets: it takes minutes and a teacher, and is the last step before fp16."
    )


def int8_parts(study: Int8Study) -> list[str]:
    """A line for each way of making an artifact, and where the figures come from."""
    head = ["target", "weights", "ranges", "mAP", "drop", "worst class's drop", "labels flipped"]
    lines = []
    for row in study.rows:
        flips = DASH
        if row.figures is not None:
            flips = number(row.figures.label_flips, 0)
        lines.append([row.target, row.weights, row.ranges, *drops(row.figures), flips])
    table = Table(head, lines, "lllrrrr").markdown_as_is()
    return [table, code_block([study.command]), origin(study.machine, study.versions)]


def student_parts(entry: StudentEntry) -> list[str]:
    """One student."""
    minutes = number(sum(entry.training_seconds) / 60, 0)
    protocol = entry.bench.protocol
    processes = "1 process" if protocol.passes == 1 else f"{protocol.passes} processes"
    compared = entry.artifacts["onnx-fp32"].parity.comparison
    assert compared is not None
    about = (
        f"mAP of the torch model {number(entry.metrics['mAP'])} on {entry.scored_on}, at {entry.bench.image_size} px, "
        f"{entry.data.classes} labels (trained on {entry.data.images['train']} images for {minutes} minutes on one "
        f"machine, seed {entry.seed}). "
        f"Artifacts answered {compared.images} of these images, where its mAP is {number(compared.map_torch_percent)}. "
        f"Each time is the median of at least {counted(protocol.least_runs, 'call')}, {processes} a row, rows taking "
        f"turns. {reliability(entry.bench)}"
    )
    return [
        f"### {NICE[entry.model.model]} on {entry.data.name}",
        about,
        verdict(entry),
        artifact_table(entry),
        *other_images(entry),
        *from_files(entry),
        *skipped(entry),
        merged(entry.artifacts["onnx-fp32"]),
        "Gain per optimization, as a ratio of medians to the step before:",
        gain_table(entry),
        *ladders(entry),
        code_block(entry.commands),
        timed_on(entry.bench),
    ]


def tools(entry: StudentEntry) -> str:
    """Versions of all that exported."""
    versions: dict[str, str] = {}
    for artifact in entry.artifacts.values():
        versions |= artifact.versions
    return "Exported with " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())) + "."


def measured(study: TargetsStudy) -> list[str]:
    """All students."""
    first = next(iter(study.students.values()))
    parts = [
        "## Measured",
        "Students distilled on photos. What matters here is how much of their mAP exporting loses, on validation "
        "images. Batch 1, each row in a separate process; a * marks a row whose timing is not known to be stable.",
        f"*{BASELINE_STEP}*: the same backbone, nothing merged, with the papers' decoder of 768, exported by a plain "
        "`torch.onnx.export` and run by ONNX Runtime in fp32. Its head has random weights: it is there for its time, "
        "its accuracy was not measured. It takes normalized images and gives logits; artifacts of mlkdc normalize "
        "and take the sigmoid themselves, in the times shown. Speedup: the baseline's median over the row's. Drop: of "
        "mAP, in percentage points, from the torch model, positive where the artifact is worse; worst class's drop: "
        f"of the AP of the class that lost most, of those with at least {LEAST_POSITIVES} positive images.",
        "int8 on other images: the drops by cross-fitting, where each half of the images is answered by the step that "
        "the other half would have chosen. Upper ends are of intervals that hold 9 of 10 draws of as many images. A "
        "promise is firm where they are within the limits too, which is [no guarantee](#on-other-images).",
        *worth(study),
        code_block(["python benchmarks/targets.py RUN"]),
        tools(first),
    ]
    for entry in study.students.values():
        parts += student_parts(entry)
    return parts


def document() -> str:
    """The complete docs/targets.md."""
    parts = [
        "# Targets",
        "Written by `python benchmarks/render_targets.py` from the target files in export/ and the JSON in "
        "benchmarks/results; do not edit by hand.",
        *listed(),
    ]
    if RESULTS.is_file():
        parts += measured(TargetsStudy.load_from(RESULTS))
    parts += [*without_vnni(), *repvgg(), *fine_tuned()]
    if PROMISE.is_file():
        parts += promise(PromiseStudy.load_from(PROMISE))
    if LADDER.is_file():
        parts += ladder_times(LadderStudy.load_from(LADDER))
    if VERSIONS.is_file():
        parts += version_times(VersionsStudy.load_from(VERSIONS))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    write_text(DOCUMENT, document())
