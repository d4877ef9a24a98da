"""What docs/targets.md shows of promise.json."""

from collections.abc import Sequence

from promise_records import Draw, PromiseRow, PromiseStudy
from tables import NICE, code_block, origin

from mlkdc.figures import counted, number
from mlkdc.tables import Table

HEAD = [
    "artifact",
    "steps made",
    "held on a half",
    "broke on the other",
    "by mAP",
    "by a class",
    "largest drop of mAP",
    "largest drop of a class",
    "above the interval",
]


def promise(study: PromiseStudy) -> list[str]:
    """The section on images that were not compared."""
    first = study.rows[0]
    held, broke = _together(study.rows)
    limits = first.tolerance
    map_limit, class_limit = number(limits.map_drop_points, 1), number(limits.class_drop_points, 0)
    return [
        "## On other images",
        f"The limits of int8 (mAP {map_limit} points, the worst class {class_limit}) are judged on the images "
        "compared. Do they hold on others? "
        f"The int8 artifacts of {NICE[study.student]} (trained on {study.data}), exported with default options, were "
        f"judged on a random half of the {first.images} images of {first.split}, and again on the other half, "
        f"{counted(len(first.draws), 'time')}, each artifact on the same halves. "
        f"Of {counted(held, 'time')} that all limits held on a half, they broke on the other half "
        f"{counted(broke, 'time')}. "
        "So `ok` is a statement about the images compared, not a guarantee. "
        "Two things make limits break more often here than on new images after an export: half as many images give "
        "noisier figures, and a half that did better than all of the images leaves one that did worse. One makes them "
        "break less often: the ladder's step was chosen on both halves. "
        "A limit can also break by flipped labels or by the largest difference of a probability. "
        "Above the interval: the draws in which the worst class of the other half (which may be another) dropped by "
        "more than the upper end of the interval that comes with the judged half's.",
        Table(HEAD, [_line(row) for row in study.rows], "lrrrrrrrr").markdown_as_is(),
        code_block([study.command]),
        origin(study.machine, study.versions),
    ]


def _together(rows: Sequence[PromiseRow]) -> tuple[int, int]:
    """Of all artifacts' draws: in how many the limits held on the judged half, and in how many of those not after."""
    held = [draw for row in rows for draw in row.draws if draw.judged.held]
    return len(held), len(_broken(held))


def _broken(draws: Sequence[Draw]) -> list[Draw]:
    return [draw for draw in draws if not draw.other.held]


def _line(row: PromiseRow) -> list[str]:
    limits = row.tolerance
    held = [draw for draw in row.draws if draw.judged.held]
    others = [draw.other for draw in held]
    by_map = sum(other.map_drop_points > limits.map_drop_points for other in others)
    by_class = sum(other.worst_class_drop_points > limits.class_drop_points for other in others)
    above = sum(draw.other.worst_class_drop_points > draw.judged.worst_class_upper_points for draw in row.draws)
    return [
        row.artifact,
        str(row.steps),
        f"{len(held)} of {len(row.draws)}",
        str(len(_broken(held))),
        str(by_map),
        str(by_class),
        number(max(draw.other.map_drop_points for draw in row.draws)),
        number(max(draw.other.worst_class_drop_points for draw in row.draws)),
        f"{above} of {len(row.draws)}",
    ]
