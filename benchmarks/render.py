"""docs/results.md from the JSON files in benchmarks/results; a test keeps the two equal.

python benchmarks/render.py
"""

import json
from pathlib import Path
from statistics import mean
from typing import Any

from render_methods import by_method, by_sign, digits, gains, photos
from tables import NICE, Rows, commands, origin, spread, table

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "results.md"


def pairs(rows: Rows) -> list[tuple[str, Rows, Rows]]:
    """(student, its vanilla rows, its l2d rows), seeds in order, for students that have both."""
    found = []
    for student in dict.fromkeys(row["student"] for row in rows):
        methods = by_method(rows, student)
        if "vanilla" in methods and "l2d" in methods:
            found.append((student, methods["vanilla"], methods["l2d"]))
    return found


def compared(rows: Rows, metrics: tuple[str, ...] = ("mAP", "OF1@tuned", "CF1@tuned")) -> str:
    """One line per student and method, and the paired difference."""
    header = ["student", "method", "seeds", *metrics, "L2D - vanilla, mAP by seed", "minutes"]
    lines = []
    for student, vanilla, l2d in pairs(rows):
        for method, own in (("vanilla", vanilla), ("l2d", l2d)):
            figures = [spread([row["metrics"][metric] for row in own]) for metric in metrics]
            differences = " ".join(f"{gain:+.2f}" for gain in gains(own, vanilla))
            minutes = f"{mean(row['seconds'] for row in own) / 60:.1f}"
            seeds = ", ".join(str(row["seed"]) for row in own)
            lines.append([NICE[student], method, seeds, *figures, differences if method == "l2d" else "", minutes])
    return table(header, lines)


def verdict(rows: Rows) -> str:
    """In words: which students the teacher helped in every seed, and which it did not."""
    found: dict[str, list[float]] = {}
    for student, vanilla, l2d in pairs(rows):
        by_seed = gains(l2d, vanilla)
        found[f"{NICE[student]} ({', '.join(f'{gain:+.2f}' for gain in by_seed)})"] = by_seed
    words = {
        "every seed": "higher with the teacher in every seed",
        "some seeds": "higher in some seeds only",
        "no seed": "not higher in any seed",
    }
    return "; ".join(f"{words[where]}: {', '.join(names)}" for where, names in by_sign(found).items()) + "."


def quickstart(rows: Rows) -> list[str]:
    """The embedded data."""
    teacher = next(row["teacher"] for row in rows if row["teacher"])
    return [
        "## The quickstart: embedded digit scenes",
        f"Test split, {rows[0]['data']['images']['test']} images, {rows[0]['data']['classes']} labels, in %; mean and "
        f"sample standard deviation over the seeds. Teacher: {NICE[teacher['model']]}, mAP "
        f"{teacher['metrics']['mAP']:.2f}, the same for all seeds. Both students see the same images the same number "
        "of times. The scenes' difficulty and the recipe were tuned by hand with seed 0's "
        "validation and test figures in "
        "sight, so the level flatters; the comparison is between equal budgets. Minutes are of the student's training "
        "alone, with other trainings on the machine.",
        compared(rows),
        f"Test mAP: {verdict(rows)}",
        commands(rows),
        origin(rows),
    ]


SECTIONS = {"quickstart": quickstart, "digits": digits, "corel5k": photos}


def latency(study: dict[str, Any]) -> list[str]:
    """A student beside its teacher."""
    header = ["model", "threads", "median ms", "p90", "p99", "MB", "teacher's / this, median", ""]
    models = study["models"]
    teacher = models["teacher"]["run"]
    reference = {row["threads"]: row["median_ms"] for row in study["rows"] if row["name"] == f"{teacher}/onnx-fp32"}
    names = {models[role]["run"]: role for role in models}
    lines = []
    for row in study["rows"]:
        run, _, what = row["name"].partition("/")
        size = "-" if row["size_bytes"] is None else f"{row['size_bytes'] / 1e6:.1f}"
        figures = [f"{row[key]:.2f}" for key in ("median_ms", "p90_ms", "p99_ms")]
        ratio = f"{reference[row['threads']] / row['median_ms']:.2f}" if what == "onnx-fp32" else ""
        stable = "" if row["stable"] else "unstable"
        lines.append([f"{names[run]}, {what}", str(row["threads"]), *figures, size, ratio, stable])
    described = [
        f"{role}: {NICE[model['model']['model']]} ({model['method']}) at {model['model']['image_size']} px, mAP "
        f"{model['mAP']:.2f} on {model['scored_on']}; exported: largest probability difference "
        f"{model['parity']['max_probability_difference']:.1e} and {model['parity']['label_flips']} label flips on "
        f"{model['parity']['images']} images"
        for role, model in models.items()
    ]
    return [
        "## A student beside its teacher: latency",
        "; ".join(described) + ". Batch 1; each row in processes of its own, rows interleaved; median over "
        f"{study['rows'][0]['passes']} processes of {study['rows'][0]['runs']} timed calls.",
        table(header, lines),
        f"```\npython benchmarks/latency.py runs/corel5k/{models['student']['run']} runs/corel5k/{teacher}\n```",
        origin([study]),
    ]


def document() -> str:
    """The whole of docs/results.md."""
    parts = [
        "# Results",
        "Written by `python benchmarks/render.py` from the JSON files in benchmarks/results; do not edit by hand.",
    ]
    for name, section in SECTIONS.items():
        path = HERE / "results" / f"{name}.json"
        if path.is_file():
            parts += section(json.loads(path.read_text())["rows"])
    path = HERE / "results" / "latency.json"
    if path.is_file():
        parts += latency(json.loads(path.read_text()))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
