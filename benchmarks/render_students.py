"""docs/results.md from students.json and heads.json in benchmarks/results; a test keeps them equal.

python benchmarks/render_students.py
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from student_records import StudentRow, StudentsStudy
from students import ABLATION, BUDGETS, FILES, METHODS, SEEDS
from study_records import HeadsStudy, ViewsStudy
from tables import NICE, code_block, origin, paired, spread

from mlkdc.figures import number, signed
from mlkdc.recipe import load_recipe
from mlkdc.resources import write_text
from mlkdc.tables import Table

HERE = Path(__file__).parent
RESULTS = HERE / "results"
DOCUMENT = HERE.parent / "docs" / "results.md"
PLAIN, VANILLA, BEST, OLD = "plain", "vanilla", "hint", "old defaults"
ORDER = (PLAIN, *METHODS)
NAMES = {"corel5k": "Corel-5k", "coco18": "COCO, 18 labels"}
#: A row, its baseline, and how many points more were aimed at.
AIMS = ((VANILLA, PLAIN, 0.0), ("l2d", VANILLA, 1.0), (BEST, VANILLA, 2.0))
MORE_AIMS = {"coco18": ((BEST, OLD, 3.0),)}
#: What was tried for the best row's aim, in this order; the last is what its recipe has.
TRIED = {
    "hint, weight alone": "the weight of the features alone",
    "hint, cd and id": "L2D's label-wise terms beside them",
    BEST: "a share of the gradient that is held",
}
#: By name of the row, its trainings in the order of their seeds.
Rows = Mapping[str, Sequence[StudentRow]]

INTRODUCTION = """
Photos, a practitioner's baseline, and what a teacher adds. `plain` is benchmarks/plain.py: 60 lines of timm and torch,
none of mlkdc; pooling, one linear layer, AdamW, one cycle to a rate of 0.002 for the head and 0.3 of it for the
backbone, as in mlkdc's short recipes: with half of both it is five points worse after three epochs. `vanilla` is mlkdc
without a teacher, `l2d` L2D with the shares of CD and ID held, `hint` the recipe to try first: the teacher's
probabilities, and its pooled features with a share that is held too (`weights alone`, `weight alone`: without that, as
the recipes were before); `hint, cd and id` adds L2D's label-wise terms to it, which was tried for more. The others have
the weights that were published for them, and those of `mdkd` and `rkd` that compare images or labels rise over the
first 30 % of the steps, as in `short/l2d-mobilenet`, from which they start; `mdkd` as printed is nearly MLD next to BCE
/ b, which is therefore a row of its own. `old defaults` is what mlkdc trained without a teacher before its short
recipes. `reviewkd` and `mskd`, which take longest, and L2D's published weights have one seed. Everything was chosen on
the validation images that are scored here, so expect a little less on others; the last epoch counts, none was picked.
"""

PHOTOS = """
Neither set is published with mlkdc. PHOTOS is a folder with labels.csv (image, labels, split). Corel-5k: 3,435 of its
photos and 73 of its labels, "water" (620 training images) to "zebra" (27). COCO: 9,400 photos of MS-COCO, of at most
320 px for the most part, and which of 18 categories are in each ("person" to "horse", as COCO orders them, all other
categories left out). WEIGHTS is a folder with timm's ImageNet weights of `mobilenetv2_100`, `tf_efficientnet_lite0` and
`tf_efficientnet_lite2` (.safetensors).
"""


def by_row(rows: Sequence[StudentRow]) -> Rows:
    """Trainings grouped by row."""
    groups: dict[str, list[StudentRow]] = {}
    for training in sorted(rows, key=lambda training: training.seed):
        groups.setdefault(training.row, []).append(training)
    return groups


def differences(rows: Sequence[StudentRow], baseline: Sequence[StudentRow]) -> list[float]:
    """mAP minus the baseline's of the same seed, in points, for the seeds that both have."""
    return paired(
        {training.seed: training.map_percent for training in rows},
        {training.seed: training.map_percent for training in baseline},
    )


def compared(groups: Rows, order: Sequence[str], baseline: str) -> str:
    """One line per row, with its difference to the baseline."""
    head = ["row", "terms", "seeds", "mAP", f"minus {baseline}", "by seed", "shares of the gradient", "minutes"]
    lines = []
    for name in order:
        if name not in groups:
            continue
        rows = groups[name]
        difference, by_seed = "", ""
        values = differences(rows, groups.get(baseline, ()))
        if name != baseline and values:
            difference, by_seed = signed(mean(values)), " ".join(map(signed, values))
        seeds = ", ".join(str(training.seed) for training in rows)
        scores = spread([training.map_percent for training in rows])
        lines.append([name, terms(rows[0]), seeds, scores, difference, by_seed, shares(rows), minutes(rows)])
    return Table(head, lines, "llrrrrlr").markdown_as_is()


def terms(training: StudentRow) -> str:
    """Terms with their weights, and the form of the base loss where it is a mean."""
    text = " ".join(f"{term}={weight:g}" for term, weight in training.terms.items())
    if training.form == "paper":
        text += ", BCE / b"
    return text


def shares(rows: Sequence[StudentRow]) -> str:
    """Of the gradient at the last feature map, in percent, mean over seeds."""
    parts = []
    for term in rows[0].shares:
        percent = 100 * mean(training.shares[term] for training in rows)
        parts.append(f"{term} {number(percent, 1)}")
    return ", ".join(parts)


def minutes(rows: Sequence[StudentRow]) -> str:
    """Of training, mean over seeds; empty where it was not measured."""
    seconds = [training.training_seconds for training in rows if training.training_seconds is not None]
    if not seconds:
        return ""
    return number(mean(seconds) / 60, 1)


def main_rows(name: str, rows: Sequence[StudentRow]) -> list[StudentRow]:
    """Trainings of the student and budget that all methods have."""
    epochs = BUDGETS[name][0]
    return [
        row
        for row in rows
        if (row.photos, row.student, row.image_size, row.epochs) == (name, "mobilenetv2", 96, epochs)
        and row.row in ORDER
    ]


def summary(rows: Sequence[StudentRow]) -> list[str]:
    """The two data sets in one table: mAP without a teacher, with one, and the teacher's own."""
    shown, lines = (PLAIN, VANILLA, "mld", "l2d", BEST), []
    for name in BUDGETS:
        groups = by_row(main_rows(name, rows))
        cells = [f"{NAMES[name]}, {BUDGETS[name][0]} epochs"]
        for row in shown:
            cells.append(spread([training.map_percent for training in groups[row]]) if row in groups else "")
        teacher = groups[BEST][0].teacher_map_percent
        assert teacher is not None
        lines.append([*cells, number(teacher)])
    return ["## In short", Table(["photos", *shown, "teacher"], lines, "lrrrrrr").markdown_as_is()]


def photos(name: str, rows: Sequence[StudentRow]) -> list[str]:
    """Every method on one data set, and the commands."""
    epochs = BUDGETS[name][0]
    main = main_rows(name, rows)
    groups = by_row(main)
    if not groups:
        return []
    facts = f"MobileNetV2 from ImageNet weights at 96 px, {epochs} epochs; mAP on the validation images, in %."
    for training in main:
        if training.data is not None:
            images, classes = training.data.images, training.data.classes
            facts += f" {images['train']} training and {images['val']} validation images, {classes} labels."
            break
    teachers = {number(row.teacher_map_percent) for row in main if row.teacher_map_percent is not None}
    if teachers:
        teacher = load_recipe(METHODS[BEST][0]).teacher
        assert teacher is not None
        facts += f" Teacher: EfficientNet-Lite2 at {teacher.image_size} px, mAP {', '.join(sorted(teachers))}."
    return [
        f"## {NAMES[name]}",
        facts,
        compared(groups, ORDER, VANILLA),
        aims(name, groups),
        tried(groups),
        commands(groups),
    ]


def aims(name: str, groups: Rows) -> str:
    """In words: what was aimed at, and what came of it, as far as it is trained."""
    sentences = []
    for row, baseline, points in (*AIMS, *MORE_AIMS.get(name, ())):
        values = differences(groups.get(row, ()), groups.get(baseline, ()))
        if values:
            # Two trainings of one recipe differ by a point and more, so an aim of 0 can only be one of the mean.
            each_seed = ", and every seed above 0" if points else ""
            reached = mean(values) >= points and (not each_seed or min(values) > 0)
            met = "met" if reached else "missed"
            if mean(values) < points:
                met += f" by {points - mean(values):.1g}"
            if len(values) < len(SEEDS):
                met += f" so far ({len(values)} of {len(SEEDS)} seeds)"
            shown = ", ".join(map(signed, values))
            aim = f"aim: a mean of {points:g} or more{each_seed}"
            sentences.append(f"{row} over {baseline}: {shown} (mean {signed(mean(values))}); {aim}: {met}.")
    for training in groups.get(BEST, ())[:1]:
        if training.teacher_map_percent is not None and VANILLA in groups:
            gap = training.teacher_map_percent - mean(row.map_percent for row in groups[VANILLA])
            met = "met" if gap >= 4 else "missed"
            sentences.append(f"Teacher over vanilla: {signed(gap)}; aim: 4 or more: {met}.")
    return " ".join(sentences)


def tried(groups: Rows) -> str:
    """Where the best row's aim is missed: what was tried for it, and what the figures say about why."""
    _, _, aim = AIMS[-1]
    vanilla = groups.get(VANILLA, ())
    values = differences(groups.get(BEST, ()), vanilla)
    if not values or mean(values) >= aim:
        return ""
    gains = []
    for row, words in TRIED.items():
        gains.append(f"{words} ({signed(mean(differences(groups[row], vanilla)))})")
    teacher = groups[BEST][0].teacher_map_percent
    assert teacher is not None
    room = teacher - mean(training.map_percent for training in vanilla)
    return (
        f"Tried for `{BEST}`'s aim, in this order: {', '.join(gains)}. The teacher is {number(room)} points above "
        f"vanilla, of which {mean(values) / room:.0%} is reached. Seeds lie further apart, {signed(min(values))} to "
        f"{signed(max(values))}, than what is missing, which three of them cannot show."
    )


def commands(groups: Rows) -> str:
    """One of each row; the others differ in their seed."""
    return code_block([groups[name][0].command for name in ORDER if name in groups])


def budgets(name: str, rows: Sequence[StudentRow]) -> list[str]:
    """mAP by number of epochs."""
    small = [row for row in rows if row.student == "mobilenetv2" and row.image_size == 96]
    epochs = sorted({row.epochs for row in small if row.row in (PLAIN, BEST)})
    if len(epochs) < 2:
        return []
    groups = {budget: by_row([row for row in small if row.epochs == budget]) for budget in epochs}
    lines = []
    for row in (PLAIN, VANILLA, BEST):
        scores = [[training.map_percent for training in groups[budget].get(row, ())] for budget in epochs]
        lines.append([row, *(spread(found) if found else "" for found in scores)])
    gains = [differences(groups[budget].get(VANILLA, ()), groups[budget].get(PLAIN, ())) for budget in epochs]
    means = [mean(found) for found in gains if found]
    met = "met" if min(means) >= 0 else "missed"
    return [
        f"### {NAMES[name]}: budget",
        Table(["row", *(f"{budget} epochs" for budget in epochs)], lines, "l" + "r" * len(epochs)).markdown_as_is(),
        f"vanilla over plain: {', '.join(map(signed, means))}; aim: a mean of 0 or more at every budget: {met}.",
    ]


def students(name: str, rows: Sequence[StudentRow]) -> list[str]:
    """Other students and other image sizes."""
    parts = []
    others = dict.fromkeys((row.student, row.image_size) for row in rows)
    for student, image_size in others:
        if (student, image_size) == ("mobilenetv2", 96):
            continue
        groups = by_row([row for row in rows if (row.student, row.image_size) == (student, image_size)])
        parts.append(f"### {NAMES[name]}: {NICE[student]} at {image_size} px")
        if student not in FILES:
            parts.append("From random weights, so nothing to hold against students that begin with ImageNet's.")
        parts += [compared(groups, ORDER, VANILLA), commands(groups)]
    return parts


def ablation(name: str, rows: Sequence[StudentRow]) -> list[str]:
    """One change of the vanilla recipe at a time."""
    short = [row for row in rows if row.student == "mobilenetv2" and row.image_size == 96 and row.epochs == 8]
    groups = by_row([row for row in short if row.row in (PLAIN, VANILLA, *ABLATION)])
    if not any(row in groups for row in ABLATION):
        return []
    changes = [f"- {row}: `{' '.join(ABLATION[row])}`" for row in ABLATION if row in groups]
    return [
        f"### {NAMES[name]}: one change at a time",
        "The vanilla recipe at 8 epochs, and with one setting changed; `plain` has as many.",
        compared(groups, (PLAIN, VANILLA, *ABLATION), VANILLA),
        "\n".join(changes),
    ]


def heads(study: HeadsStudy) -> list[str]:
    """What each head costs."""
    lines = []
    for row in study.rows:
        figures = [number(value) for value in (row.size.macs_head / 1e6, row.median_ms, row.ratio_to_linear)]
        lines.append([str(row.image_size), str(row.classes), row.head, *figures])
    return [
        "## What a head costs",
        "MobileNetV2 exported to ONNX, one thread of ONNX Runtime, all heads in turns on a machine that did other work "
        "too; the ratio is the median over passes, and differences of a few percent say nothing.",
        Table(["px", "labels", "head", "M multiply-adds", "ms", "times linear"], lines, "rrlrrr").markdown_as_is(),
        code_block(["OMP_NUM_THREADS=1 python benchmarks/heads.py"]),
        origin(study.machine, study.versions),
    ]


def views(study: ViewsStudy) -> list[str]:
    """What a view costs, next to the step that it is for."""
    lines = []
    for row in study.rows:
        lines.append([str(row.image_size), row.way, number(row.ms_per_image), number(row.ratio_to_mlkdc)])
    return [
        "## What a view costs",
        "A random crop and flip, of batches of 32 on one thread, all ways in turns on a machine that did other work "
        "too. mlkdc reduces an image that is stored larger than the view, with the filter that validation images get; "
        "`grid_sample` takes four pixels of an image that is stored at the view's size, and blurs it; torchvision's "
        "crop is as sharp as mlkdc's. A training step is the forward and backward pass of MobileNetV2.",
        Table(["px", "way", "ms per image", "times mlkdc's"], lines, "rlrr").markdown_as_is(),
        code_block(["OMP_NUM_THREADS=1 python benchmarks/views.py"]),
        origin(study.machine, study.versions),
    ]


def headline(name: str) -> str:
    """One sentence for the README: the baseline, and the short recipes."""
    rows = StudentsStudy.load_from(RESULTS / "students.json").rows
    epochs = BUDGETS[name][0]
    groups = by_row(main_rows(name, rows))
    scores = {}
    for row in (PLAIN, VANILLA, BEST):
        scores[row] = number(mean(training.map_percent for training in groups[row]), 1)
    counts = {len(groups[row]) for row in scores}
    assert len(counts) == 1, "means of as many seeds each"
    return (
        f"{NAMES[name]}: mAP {scores[PLAIN]} when 60 lines of timm fine-tune it, {scores[VANILLA]} with "
        f"`short/{VANILLA}-mobilenet` and {scores[BEST]} with `short/{BEST}-mobilenet`, on the same {epochs} epochs; "
        f"means of {counts.pop()} seeds"
    )


def document() -> str:
    """The complete docs/results.md."""
    rows = StudentsStudy.load_from(RESULTS / "students.json").rows
    parts = [
        "# Results",
        "Written by `python benchmarks/render_students.py` from the JSON files in benchmarks/results; do not edit by "
        "hand.",
        " ".join(INTRODUCTION.split()),
        " ".join(PHOTOS.split()),
    ]
    parts += summary(rows)
    for name in BUDGETS:
        of_name = [row for row in rows if row.photos == name]
        for section in (photos, budgets, students, ablation):
            parts += section(name, of_name)
    parts += heads(HeadsStudy.load_from(RESULTS / "heads.json"))
    parts += views(ViewsStudy.load_from(RESULTS / ViewsStudy.FILE))
    parts += ["## How it was measured", measured(rows)]
    return "\n\n".join(part for part in parts if part) + "\n"


def measured(rows: Sequence[StudentRow]) -> str:
    """Command, machine and versions."""
    # The plain rows need fewer packages.
    distilled = [training for training in rows if training.row != PLAIN]
    return (
        "`OMP_NUM_THREADS=1 python benchmarks/students.py methods --photos corel5k=PHOTOS --weights WEIGHTS` runs what "
        "its JSON lacks; so do `budget`, `students` and `ablation` in place of `methods`, and `coco18=PHOTOS` for the "
        "other set. Two trainings ran at a time, one thread each; minutes include what else the machine did. "
        f"{origin(distilled[-1].machine, distilled[-1].versions)}"
    )


if __name__ == "__main__":
    write_text(DOCUMENT, document())
