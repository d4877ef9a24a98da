"""Is a teacher good enough to learn from?"""

from mlkdc.figures import number
from mlkdc.records.results import Results

#: Less than this much more mAP, in percentage points, is too little for a student to gain from: seeds alone differ by
#: points. Near 100 %, half of what the student misses is enough.
CLEARLY_POINTS = 4.0
_BETTER = "train a better one: a larger teacher.image_size, more teacher.train.epochs, teacher.train.ema=0.999"


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
        f"{number(other_map_percent)} {other}, and at least {needed:.1f} points more are needed; {_BETTER}"
    )


def weak_teacher(results: Results) -> str | None:
    """Says so where the teacher of a finished run is worse than the student on the same split, and what to do.

    A student that came close to its teacher was taught well: only :func:`weakness`, next to what the student learns
    alone, tells whether there was enough to learn.
    """
    if results.teacher is None:
        return None
    teacher = results.teacher.map_percent_on(results.scored_on)
    if teacher is None or teacher >= results.map_percent:
        return None
    return (
        f"the teacher is worse than the student that it taught: mAP {number(teacher)} against "
        f"{number(results.map_percent)} on the {results.scored_on} images; {_BETTER}"
    )
