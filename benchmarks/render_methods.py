"""The part of docs/methods.md that compares all methods, from benchmarks/results/digits.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import get_args

from study_records import Training
from tables import NICE, code_block, origin, paired, spread

from mlkdc.figures import number, signed
from mlkdc.recipe import Distill
from mlkdc.records.results import TeacherFacts
from mlkdc.tables import Table

Rows = Sequence[Training]

PLAIN = "vanilla"
#: Metrics of which tables give the mean over seeds.
MEANS = ("mAP", "OF1@tuned", "CF1@tuned")
#: L2D's table 4: which parts, and the row that has them.
ABLATION = {PLAIN: "", "mld": "M", "mld+cd": "MC", "mld+id": "MI", "l2d": "MCI"}

REASONS = """
Seeds scatter by three to six points, so that a mean difference of a few points over one to three seeds says
little; signs that agree in all seeds say more. The rows with a fraction of a method's weight were added after seed
0's figures were seen; L2D's weights are the quickstart's, smaller than the paper's 100 and 1000 and ramped over
the first 30 % of training, since in a short training those hold the student back ([decisions.md](decisions.md)).
Where a method does not help MobileNetV2, the reason is shown by a row where there is one, and otherwise supposed.
`mskd` and `uskd`: their default weights belong to long schedules, and here outweigh the cross-entropy; with a tenth of
RSD and SSD `mskd` does not lose on average, nor does `uskd` with a tenth. `mld`: the teacher is nearly always right, so
that its probabilities say little that the labels do not; with BCE divided by the batch, where MLD counts ten times
as much, it gains nothing either. `mulsupcon`: within the scatter.
`ps-kd`: its targets are up to 0.8 of what the student predicted an epoch earlier, and of four epochs most are early.
`dlb`: as it was when these rows were trained, half of every batch was the very pixels of the step before, so that the
student was held to what it had just answered to them and saw half as many views in as many steps. The authors' code
shows those images in a second, independent view, and so does mlkdc now; that was not measured. `ud`: its self-teacher
knows nothing that the student does not.
"""


@dataclass(frozen=True)
class Teacher:
    """The teacher of a study's students; ``map_percent`` on the scored split."""

    facts: TeacherFacts
    map_percent: float


def teacher_of(rows: Rows) -> Teacher:
    """The teacher of a study, which is the same in all rows that have one."""
    for row in rows:
        if row.teacher is not None and row.teacher.metrics is not None:
            return Teacher(row.teacher, row.teacher.metrics["mAP"])
    raise ValueError("no row of the study has a teacher whose metrics are recorded")


def by_method(rows: Rows, student: str) -> dict[str, list[Training]]:
    """The student's rows by method, seeds in order."""
    methods: dict[str, list[Training]] = {}
    for row in sorted(rows, key=lambda row: row.seed):
        if row.student == student:
            methods.setdefault(row.method, []).append(row)
    return methods


def seeds_of(rows: Rows) -> str:
    """The seeds, in words."""
    return ", ".join(str(row.seed) for row in rows)


def gains(rows: Rows, plain: Rows) -> list[float]:
    """mAP minus the plain run's of the same seed, in points, for the seeds that both have."""
    return paired({row.seed: row.map_percent for row in rows}, {row.seed: row.map_percent for row in plain})


def in_words(gains_by_name: Mapping[str, Sequence[float]], *, every: str, some: str, none: str) -> str:
    """Names by where their gains are above zero; one without gains is skipped.

    Args:
        gains_by_name: by seed.
        every, some, none: what to put before the names whose gains are positive in every, some and no seed.
    """
    groups: dict[str, list[str]] = {every: [], some: [], none: []}
    for name, values in gains_by_name.items():
        if not values:
            continue
        if min(values) > 0:
            groups[every].append(name)
        elif max(values) > 0:
            groups[some].append(name)
        else:
            groups[none].append(name)
    clauses = []
    for words, names in groups.items():
        if names:
            clauses.append(words + ", ".join(names))
    return "; ".join(clauses)


def compared(rows: Rows, student: str) -> str:
    """One line per method: those with a teacher first, each group by mAP; differences paired by seed."""
    methods = by_method(rows, student)
    head = ["method", "terms", "teacher", "seeds", *MEANS, "mAP - vanilla, mean", "by seed", "minutes"]
    lines = []
    for name in sorted(methods, key=lambda name: _order(name, methods[name])):
        lines.append([name, *_compared_cells(name, methods[name], methods[PLAIN])])
    return Table(head, lines, "lllrrrrrrr").markdown_as_is()


def _compared_cells(name: str, rows: Rows, plain: Rows) -> list[str]:
    difference, by_seed = "", ""
    if name != PLAIN:
        values = gains(rows, plain)
        if values:
            difference = signed(mean(values))
        if len(values) > 1:
            by_seed = " ".join(map(signed, values))
    means = [spread([row.metrics[metric] for row in rows]) for metric in MEANS]
    minutes = number(mean(row.training_seconds for row in rows) / 60, 1)
    teacher = "no" if rows[0].teacher is None else "yes"
    return [_terms(rows[0]), teacher, seeds_of(rows), *means, difference, by_seed, minutes]


def _terms(row: Training) -> str:
    """Terms with their weights, and the form of the base loss where it is not the usual one."""
    text = " ".join(f"{term}={weight:g}" for term, weight in row.terms.items())
    for base in get_args(Distill.model_fields["base"].annotation):
        if row.form == "paper" and base in row.terms:
            text += f", {base.upper()} / b"
    return text


def _order(name: str, rows: Rows) -> tuple[bool, bool, float]:
    return name != PLAIN, rows[0].teacher is None, -mean(row.map_percent for row in rows)


def ablation(rows: Rows, student: str) -> str:
    """L2D part by part, as its table 4."""
    methods = by_method(rows, student)
    lines = []
    for name, parts in ABLATION.items():
        if name not in methods:
            continue
        cells = []
        for part in "MCI":
            cells.append("✓" if part in parts else "")
        cells += [spread([row.metrics[metric] for row in methods[name]]) for metric in MEANS]
        lines.append(cells)
    return Table(["MLD", "CD", "ID", *MEANS], lines, "lllrrr").markdown_as_is()


def verdict(rows: Rows, student: str) -> str:
    """In words: which methods helped in every seed they were run with, in some, in none."""
    methods = by_method(rows, student)
    gains_by_name = {}
    for name, trainings in methods.items():
        if name != PLAIN:
            gains_by_name[f"`{name}`"] = gains(trainings, methods[PLAIN])
    words = in_words(gains_by_name, every="in every seed: ", some="in some seeds: ", none="in no seed: ")
    sentence = f"{NICE[student]}, mAP higher than vanilla {words}."
    if len(methods[PLAIN]) == 1:
        sentence += " One seed was trained, which decides nothing."
    return sentence


def _students(rows: Rows) -> list[str]:
    parts = []
    for student in dict.fromkeys(row.student for row in rows):
        if PLAIN in by_method(rows, student):
            parts += [f"### {NICE[student]}", compared(rows, student), verdict(rows, student)]
    return parts


def _commands(arguments: str, rows: Rows) -> list[str]:
    return [
        code_block([f"python benchmarks/methods.py {arguments}"]),
        "runs what is missing, one command per row; the JSON has them all, such as",
        code_block([rows[-1].command]),
    ]


def digits(rows: Rows) -> list[str]:
    """All methods on the embedded data."""
    first, teacher = rows[0], teacher_of(rows)
    return [
        "## Every method: embedded digit scenes",
        f"benchmarks/digits.yaml: {first.data.images['train']} training images at "
        f"{first.model.image_size} px, few epochs; figures on {first.data.images['test']} test images, "
        "in %, mean and sample standard deviation over the seeds. Teacher: "
        f"{NICE[teacher.facts.model]} at {teacher.facts.image_size} px, mAP {number(teacher.map_percent)}. All "
        "students make the same number of optimizer steps on batches of the same size; what a method adds to a step "
        "(a teacher, crops, a second view) is in its minutes, which include other trainings on the machine as well.",
        *_students(rows),
        " ".join(REASONS.split()),
        "### L2D part by part",
        "In the form of the paper's table 4, MobileNetV2, the same runs as above.",
        ablation(rows, "mobilenetv2"),
        *_commands("digits", rows),
        origin(rows[-1].machine, rows[-1].versions),
    ]
