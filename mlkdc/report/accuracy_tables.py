"""Tables of how accurate the student is: overall, next to its teacher, and by class."""

from collections.abc import Mapping

from mlkdc.figures import DASH, number, scaled, signed
from mlkdc.records.results import ClassScore, Results
from mlkdc.tables import Table

RANKED = {
    "mAP": "average precision, mean over classes",
    "P@1": "fraction of images whose highest-scored label is right",
    "R@1": "fraction of an image's labels that this label covers",
}
DECIDED = {
    "OP": "precision over all decisions",
    "OR": "recall over all decisions",
    "OF1": "harmonic mean of OP and OR",
    "CP": "precision, mean over classes",
    "CR": "recall, mean over classes",
    "CF1": "mean over classes of the F1 of each",
}
#: How labels were decided: the ending of a metric's name, and the title of its column.
WAYS = {"": "at 0.5, %", "@tuned": "tuned, %", "@n": "@n, %"}
COMPARED = ("mAP", "OF1", "CF1")


def ranked_table(metrics: Mapping[str, float]) -> Table:
    """The metrics without a threshold; a name that is not known here is shown too, without an explanation."""
    rows = []
    for name, percent in metrics.items():
        # `OF1@tuned` and `OF1@n` are columns of the other table.
        if name.partition("@")[0] not in DECIDED:
            rows.append([name, number(percent), RANKED.get(name, "")])
    return Table(["metric", "%", "what it is"], rows, "lrl")


def decided_table(metrics: Mapping[str, float]) -> Table:
    """Precision, recall and F1 by how labels were decided; rows and columns without any figure are not shown."""
    ways = [way for way in WAYS if any(name + way in metrics for name in DECIDED)]
    rows = []
    for name, meaning in DECIDED.items():
        percents = [metrics.get(name + way) for way in ways]
        if any(percent is not None for percent in percents):
            rows.append([name, *map(number, percents), meaning])
    titles = [WAYS[way] for way in ways]
    return Table(["metric", *titles, "what it is"], rows, "l" + "r" * len(ways) + "l")


def teacher_table(results: Results) -> Table | None:
    """Student, teacher, and how they compare; None where there was no teacher."""
    student, teacher = results.model, results.teacher
    if teacher is None:
        return None
    rows = [
        ["model", student.model, teacher.model, ""],
        ["input, px", str(student.image_size), str(teacher.image_size), ""],
    ]
    # A teacher given as a weights file was not scored; its column has dashes.
    teacher_metrics = teacher.metrics or {}
    for name in COMPARED:
        student_percent, teacher_percent = results.metrics.get(name), teacher_metrics.get(name)
        difference = DASH
        if student_percent is not None and teacher_percent is not None:
            difference = f"{signed(student_percent - teacher_percent)} points"
        rows.append([f"{name}, %", number(student_percent), number(teacher_percent), difference])
    rows.append(_size_row("parameters", student.params, teacher.params))
    rows.append(_size_row("multiply-adds", student.macs, teacher.macs))
    return Table(["", "student", "teacher", "comparison"], rows, "lrrr")


def _size_row(title: str, student: int, teacher: int | None) -> list[str]:
    """The student's size as a percentage of the teacher's, which is not known for a weights file."""
    fraction = DASH
    if teacher:
        fraction = f"{100 * student / teacher:.1f} %"
    return [title, scaled(student), scaled(teacher), fraction]


def ranked_classes(results: Results) -> list[ClassScore]:
    """Classes from the highest average precision to the lowest; those without a positive image last."""
    return sorted(results.per_class, key=_rank)


def class_table(results: Results) -> Table:
    """Average precision by class."""
    rows = []
    for score in ranked_classes(results):
        rows.append([score.name, number(score.ap_percent), number(score.positives, 0), number(score.threshold, 3)])
    return Table(["class", "AP, %", "positives", "threshold"], rows, "lrrr")


def _rank(score: ClassScore) -> tuple[bool, float, str]:
    if score.ap_percent is None:
        return True, 0.0, score.name
    return False, -score.ap_percent, score.name
