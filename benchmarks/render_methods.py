"""The parts of docs/results.md that compare methods, from benchmarks/results/{digits,corel5k}.json."""

from statistics import mean
from typing import Any

from tables import NICE, Rows, origin, spread, table

PLAIN = "vanilla"
METRICS = ("mAP", "OF1@tuned", "CF1@tuned")
#: L2D's table 4: which parts, and the row that has them.
ABLATION = {PLAIN: "", "mld": "M", "mld+cd": "MC", "mld+id": "MI", "l2d": "MCI"}

REASONS = """
Seeds scatter by three to six points, so that a mean difference of a few points over one to three seeds says
little; signs that agree in all seeds say more. The rows with a part of a method's weight were added after seed
0's figures were seen; L2D's weights are the quickstart's, smaller than the paper's 100 and 1000 and ramped over
the first 30 % of training, since in a short one those hold the student back ([decisions.md](decisions.md)).
Where a method does not help MobileNetV2, the reason: shown by a row where there is one, else supposed. `mskd`
and `uskd`: their own weights belong to long schedules, and here outweigh the cross-entropy; with a tenth of RSD
and SSD `mskd` does not lose on average, nor does `uskd` with a tenth. `mld`: the teacher is right nearly always, so
that its probabilities tell little that the labels do not; with BCE divided by the batch, where MLD counts ten times
as much, it gains nothing either. `mulsupcon`: within the scatter.
`ps-kd`: its targets are up to 0.8 of what the student said an epoch earlier, and of four epochs most are early.
`dlb`: half of every batch is the last one's, so that in as many steps it sees half as many views. `ud`: its
self-teacher knows nothing that the student does not.
"""


def by_method(rows: Rows, student: str) -> dict[str, Rows]:
    """The student's rows by method, seeds in order."""
    own = sorted((row for row in rows if row["student"] == student), key=lambda row: row["seed"])
    return {name: [row for row in own if row["method"] == name] for name in dict.fromkeys(r["method"] for r in own)}


def gains(rows: Rows, plain: Rows) -> list[float]:
    """mAP minus the plain run's of the same seed, for the seeds that both have."""
    known = {row["seed"]: row["metrics"]["mAP"] for row in plain}
    return [row["metrics"]["mAP"] - known[row["seed"]] for row in rows if row["seed"] in known]


def by_sign(found: dict[str, list[float]]) -> dict[str, list[str]]:
    """Names by where their gains are above zero; a name without gains is left out."""
    sorts: dict[str, list[str]] = {"every seed": [], "some seeds": [], "no seed": []}
    for name, values in found.items():
        if values:
            sorts["every seed" if min(values) > 0 else "some seeds" if max(values) > 0 else "no seed"].append(name)
    return {where: names for where, names in sorts.items() if names}


def compared(rows: Rows, student: str) -> str:
    """One line per method: those with a teacher first, each group by mAP; differences paired by seed."""
    methods = by_method(rows, student)
    plain = methods[PLAIN]
    header = ["method", "terms", "teacher", "seeds", *METRICS, "mAP - vanilla, mean", "by seed", "minutes"]
    lines = []
    for name in sorted(methods, key=lambda name: _order(name, methods[name])):
        own = methods[name]
        figures = [spread([row["metrics"][metric] for row in own]) for metric in METRICS]
        differences = [] if name == PLAIN else gains(own, plain)
        seeds = " ".join(f"{value:+.2f}" for value in differences)
        lines.append(
            [
                name,
                " ".join(f"{term}={weight:g}" for term, weight in own[0]["terms"].items()) + _form(own[0]),
                "yes" if own[0]["teacher"] else "no",
                ", ".join(str(row["seed"]) for row in own),
                *figures,
                f"{mean(differences):+.2f}" if differences else "",
                seeds if len(differences) > 1 else "",
                f"{mean(row['seconds'] for row in own) / 60:.1f}",
            ]
        )
    return table(header, lines)


def _form(row: dict[str, Any]) -> str:
    return ", BCE / b" if row["form"] == "paper" and "bce" in row["terms"] else ""


def _order(name: str, rows: Rows) -> tuple[bool, bool, float]:
    return name != PLAIN, not rows[0]["teacher"], -mean(row["metrics"]["mAP"] for row in rows)


def ablation(rows: Rows, student: str) -> str:
    """L2D part by part, as its table 4."""
    methods = by_method(rows, student)
    lines = []
    for name, parts in ABLATION.items():
        if name in methods:
            marks = ["✓" if part in parts else "" for part in "MCI"]
            figures = [spread([row["metrics"][metric] for row in methods[name]]) for metric in METRICS]
            lines.append([*marks, *figures])
    return table(["MLD", "CD", "ID", *METRICS], lines)


def verdict(rows: Rows, student: str) -> str:
    """In words: which methods helped in every seed they were run with, in some, in none."""
    methods = by_method(rows, student)
    found = {f"`{name}`": gains(own, methods[PLAIN]) for name, own in methods.items() if name != PLAIN}
    said = [f"{where}: {', '.join(names)}" for where, names in by_sign(found).items()]
    return f"{NICE[student]}, mAP higher than vanilla in " + "; in ".join(said) + "."


def _students(rows: Rows) -> list[str]:
    parts = []
    for student in dict.fromkeys(row["student"] for row in rows):
        if PLAIN in by_method(rows, student):
            parts += [f"### {NICE[student]}", compared(rows, student), verdict(rows, student)]
    return parts


def _commands(arguments: str, rows: Rows) -> str:
    return (
        f"```\npython benchmarks/methods.py {arguments}\n```\n\nruns what is missing, one command per row; "
        f"they stand in the JSON, such as\n\n```\n{rows[-1]['command']}\n```"
    )


def digits(rows: Rows) -> list[str]:
    """All methods on the embedded data."""
    teacher = next(row["teacher"] for row in rows if row["teacher"])
    return [
        "## Every method: embedded digit scenes",
        f"benchmarks/digits.yaml: {rows[0]['data']['images']['train']} training images at "
        f"{rows[0]['model']['image_size']} px, few epochs; figures on {rows[0]['data']['images']['test']} test images, "
        "in %, mean and sample standard deviation over the seeds. Teacher: "
        f"{NICE[teacher['model']]} at {teacher['image_size']} px, mAP {teacher['metrics']['mAP']:.2f}. All students "
        "make as many optimizer steps on batches of as many images; what a method adds to a step (a teacher, crops, a "
        "second view) is in its minutes, which hold other trainings on the machine as well.",
        *_students(rows),
        " ".join(REASONS.split()),
        "### L2D part by part",
        "In the form of the paper's table 4, MobileNetV2, the same runs as above.",
        ablation(rows, "mobilenetv2"),
        _commands("digits", rows),
        origin(rows),
    ]


def photos(rows: Rows) -> list[str]:
    """The papers' methods on Corel-5k."""
    teacher = next(row["teacher"] for row in rows if row["teacher"])
    images = rows[0]["data"]["images"]
    return [
        "## Real photos: Corel-5k",
        f"{images['train']} training and {images['val']} validation images, {rows[0]['data']['classes']} labels. There "
        "is no third split: thresholds are tuned on the images that are scored, so the @tuned figures flatter; mAP "
        "does not depend on them, and no epoch was chosen by it (the last one counts). Teacher: "
        f"{NICE[teacher['model']]} from ImageNet weights at {teacher['image_size']} px, mAP "
        f"{teacher['metrics']['mAP']:.2f}. Students at {rows[0]['model']['image_size']} px, "
        f"{len(rows[0]['mAP_by_epoch'])} epochs; EfficientNet-Lite0 from ImageNet weights, the others from random "
        "ones. L2D with weights 10, 10, 10 on its terms: a short schedule (benchmarks/corel5k.yaml).",
        *_students(rows),
        "With one or two seeds a difference below half a point says nothing, and the seeds' own differences are "
        "larger. `mskd` with its own weights loses here as on the digits, where a tenth of RSD and SSD did not. "
        "Students from random weights see far too few photos here to be useful; they are compared, not recommended. "
        "The teacher's forward pass is in the minutes of whichever run met its views first, the others read its "
        "outputs from the cache, and two trainings shared the machine at a time: the minutes tell the order of "
        "magnitude only.",
        _commands("corel5k --data PHOTOS --weights WEIGHTS", rows),
        origin(rows),
    ]
