"""docs/methods.md from the JSON files in benchmarks/results; a test keeps the two equal.

python benchmarks/render.py
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from render_methods import MEANS, Rows, by_method, digits, gains, in_words, seeds_of, teacher_of
from study_records import LatencyStudy, MethodsStudy, TimedModel, Training
from tables import NICE, code_block, first_commands, origin, reliability, spread, timed_on

from mlkdc.figures import megabytes, number, scientific, signed
from mlkdc.records.bench import LatencyRow
from mlkdc.resources import write_text
from mlkdc.tables import Table

HERE = Path(__file__).parent
RESULTS = HERE / "results"
INTRODUCTION = """
For comparing methods with each other, on small data made for it, from random weights; [results.md](results.md) has
real photos. These trainings were done before views were resampled exactly and before `compact` had its shortcut: the
same commands give other levels now.
"""
DOCUMENT = HERE.parent / "docs" / "methods.md"


def pairs(rows: Rows) -> list[tuple[str, Rows, Rows]]:
    """(student, its vanilla rows, its l2d rows), seeds in order, for students that have both."""
    pairs: list[tuple[str, Rows, Rows]] = []
    for student in dict.fromkeys(row.student for row in rows):
        methods = by_method(rows, student)
        if "vanilla" in methods and "l2d" in methods:
            pairs.append((student, methods["vanilla"], methods["l2d"]))
    return pairs


def compared(rows: Rows) -> str:
    """One line per student and method, and the paired difference."""
    head = ["student", "method", "seeds", *MEANS, "L2D - vanilla, mAP by seed", "minutes"]
    lines = []
    for student, vanilla, l2d in pairs(rows):
        differences = " ".join(signed(gain) for gain in gains(l2d, vanilla))
        lines.append(_compared_line(student, "vanilla", vanilla, ""))
        lines.append(_compared_line(student, "l2d", l2d, differences))
    return Table(head, lines, "llrrrrrr").markdown_as_is()


def _compared_line(student: str, method: str, rows: Rows, differences: str) -> list[str]:
    means = [spread([row.metrics[metric] for row in rows]) for metric in MEANS]
    minutes = number(mean(row.training_seconds for row in rows) / 60, 1)
    return [NICE[student], method, seeds_of(rows), *means, differences, minutes]


def verdict(rows: Rows) -> str:
    """In words: which students the teacher helped in every seed, and which it did not."""
    gains_by_name = {}
    for student, vanilla, l2d in pairs(rows):
        by_seed = gains(l2d, vanilla)
        shown = ", ".join(signed(gain) for gain in by_seed)
        gains_by_name[f"{NICE[student]} ({shown})"] = by_seed
    return in_words(
        gains_by_name,
        every="higher with the teacher in every seed: ",
        some="higher in some seeds only: ",
        none="not higher in any seed: ",
    )


def quickstart(rows: Sequence[Training]) -> list[str]:
    """The embedded data."""
    first, teacher = rows[0], teacher_of(rows)
    return [
        "## The quickstart: embedded digit scenes",
        f"Test split, {first.data.images['test']} images, {first.data.classes} labels, in %; mean and "
        f"sample standard deviation over the seeds. Teacher: {NICE[teacher.facts.model]}, mAP "
        f"{number(teacher.map_percent)}, the same for all seeds. Both students see the same images the same number "
        "of times. The scenes' difficulty and the recipe were tuned by hand with seed 0's "
        "validation and test figures in "
        "sight, so the level flatters; the comparison is between equal budgets. Minutes are of the student's training "
        "alone, with other trainings on the machine.",
        compared(rows),
        f"Test mAP: {verdict(rows)}.",
        first_commands(rows),
        origin(rows[-1].machine, rows[-1].versions),
    ]


SECTIONS = {"quickstart": quickstart, "digits": digits}


def latency(study: LatencyStudy) -> list[str]:
    """A student next to its teacher."""
    protocol = study.bench.protocol
    runs = [f"runs/students/corel5k/{model.run}" for model in (study.student, study.teacher)]
    return [
        "## A student next to its teacher: latency",
        f"{_described('student', study.student)}; {_described('teacher', study.teacher)}. Batch 1; each row in "
        f"separate processes, rows interleaved; median over {protocol.passes} processes of at least "
        f"{protocol.least_runs} timed calls. {reliability(study.bench)}",
        _latency_table(study),
        code_block([f"python benchmarks/latency.py {' '.join(runs)}"]),
        timed_on(study.bench),
    ]


def headline(study: LatencyStudy) -> str:
    """One sentence for the README: how much faster a student is than what taught it."""
    times = {}
    for row in study.bench.rows:
        if row.threads == 1 and row.timing is not None and row.name.endswith("/onnx-fp32"):
            times[row.name.partition("/")[0]] = row.timing.median_ms
    student, teacher = times[study.student.run], times[study.teacher.run]
    facts = study.teacher.model
    return (
        f"{NICE[study.student.model.model]}, mAP {number(study.student.map_percent, 1)} on Corel-5k, answers in "
        f"{number(student)} ms as an ONNX file on one thread: {number(teacher / student, 1)} times as fast as its "
        f"teacher, {NICE[facts.model]} at {facts.image_size} px with mAP {number(study.teacher.map_percent, 1)}"
    )


def _described(role: str, model: TimedModel) -> str:
    comparison, facts = model.parity.comparison, model.model
    assert comparison is not None
    assert comparison.figures is not None
    figures = comparison.figures
    return (
        f"{role}: {NICE[facts.model]} ({model.method}) at {facts.image_size} px, mAP "
        f"{number(model.map_percent)} on {model.scored_on}; exported: largest probability difference "
        f"{scientific(figures.max_probability_difference)} and {figures.label_flips} label flips on "
        f"{comparison.images} images"
    )


def _latency_table(study: LatencyStudy) -> str:
    """The rows, and by how much each export is faster than the teacher's."""
    roles = {study.student.run: "student", study.teacher.run: "teacher"}
    teacher_ms = {}
    for row in study.bench.rows:
        if row.timing is not None and row.name == f"{study.teacher.run}/onnx-fp32":
            teacher_ms[row.threads] = row.timing.median_ms
    lines = []
    for row in study.bench.rows:
        run, _, name = row.name.partition("/")
        baseline_ms = None
        if name == "onnx-fp32":
            baseline_ms = teacher_ms[row.threads]
        lines.append([f"{roles[run]}, {name}", *_latency_cells(row, baseline_ms)])
    head = ["model", "threads", "median ms", "p90", "MB", "speedup over the teacher", "verdict"]
    return Table(head, lines, "lrrrrrl").markdown_as_is()


def _latency_cells(row: LatencyRow, baseline_ms: float | None) -> list[str]:
    timing = row.timing
    if timing is None:
        return [str(row.threads), "", "", megabytes(row.size_bytes, 1), "", f"skipped: {row.skipped}"]
    speedup = ""
    if baseline_ms is not None:
        speedup = number(baseline_ms / timing.median_ms)
    times = [number(timing.median_ms), number(timing.p90_ms)]
    return [str(row.threads), *times, megabytes(row.size_bytes, 1), speedup, timing.verdict]


def document() -> str:
    """The complete docs/methods.md."""
    parts = [
        "# Every method on the embedded data",
        "Written by `python benchmarks/render.py` from the JSON files in benchmarks/results; do not edit by hand.",
        " ".join(INTRODUCTION.split()),
    ]
    for name, section in SECTIONS.items():
        path = RESULTS / f"{name}.json"
        if path.is_file():
            parts += section(MethodsStudy.load_from(path).rows)
    path = RESULTS / "latency.json"
    if path.is_file():
        parts += latency(LatencyStudy.load_from(path))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    write_text(DOCUMENT, document())
