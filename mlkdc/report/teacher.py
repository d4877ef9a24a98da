"""Is a teacher good enough to learn from?"""

from mlkdc.figures import number
from mlkdc.records.results import Results

#: Less than this much more mAP, in percentage points, is too little for a student to gain from: seeds alone differ by
#: points. Near 100 %, half of what the student misses is enough.
CLEARLY_POINTS = 4.0


def weakness(teacher_map_percent: float, other_map_percent: float, other: str) -> str | None:
    """Says so where a teacher is not clearly better than what it is to teach, and what to do; else None.

    Args:
        teacher_map_percent: of the teacher.
        other_map_percent: of what it is compared with, on the same images.
        other: what that is, and on which images.
    """
    needed = min(CLEARLY_POINTS, (100 - other_map_percent) / 2)
    if teacher_map_percent - other_map_percent >= needed:
        return None
    return (
        f"the teacher is not clearly better than what it teaches: mAP {number(teacher_map_percent)} against "
        f"{number(other_map_percent)} {other}, and at least {needed:.1f} points more are needed; train a better "
        "one: a larger teacher.image_size, more teacher.train.epochs, teacher.train.ema=0.999"
    )


def weak_teacher(results: Results) -> str | None:
    """:func:`weakness` of the teacher of a finished run against the student, where both were scored on one split."""
    if results.teacher is None:
        return None
    teacher = results.teacher.map_percent_on(results.scored_on)
    if teacher is None:
        return None
    return weakness(teacher, results.map_percent, f"of the student on the {results.scored_on} images")
