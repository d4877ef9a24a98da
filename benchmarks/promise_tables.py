"""What docs/targets.md shows of promise.json, ladder.json and ladder_versions.json."""

from collections.abc import Sequence
from statistics import median

from ladder_records import Climb, LadderStudy, VersionsStudy
from promise_records import Choice, PromiseRow, PromiseStudy
from tables import NICE, code_block, origin

from mlkdc.exporting.int8.choice import MARGIN
from mlkdc.figures import counted, number
from mlkdc.tables import Table

HEAD = ["artifact", "rule", "held on a half", "broke on the other", "by mAP", "by a class", "above the interval"]
RULES = ("first that holds", "with a margin", "of these firm")


def promise(study: PromiseStudy) -> list[str]:
    """The section on images that had no part in the choice of the ladder's step."""
    first = study.rows[0]
    limits = first.tolerance
    map_limit, class_limit = number(limits.map_drop_points, 1), number(limits.class_drop_points, 0)
    return [
        "## On other images",
        f"The limits of int8 (mAP {map_limit} points, the worst class {class_limit}) are held on the images "
        "that chose the ladder's step. Do they hold on others? All steps of the ladders of "
        f"{NICE[study.student]} (trained on {study.data}) were made with default options. A random half of the "
        f"{first.images} images of {first.split} chose a step and judged it, and the other half judged it again, "
        f"{counted(len(first.draws), 'time')}, on the same halves for each target. "
        "*First that holds*: the first step within all limits, whether just or well. "
        f"*With a margin*: the rule of `mlkdc export`, the first step that loses at most {MARGIN:.0%} of what is "
        "allowed, else the first that loses little more (the shares were chosen with another seed's student, on these "
        "images). *Firm*: those of which the export would say that the limits hold on images that "
        "did not choose, because they do by cross-fitting (each half of the images is judged by the step that the "
        "other half chose), and the upper ends of the drops' intervals are within them too. It calls all others a "
        "weak promise.",
        Table(HEAD, _lines(study.rows), "llrrrrr").markdown_as_is(),
        _together(study.rows),
        "Limits break more often here than on new images after an export: half as many images give noisier figures, "
        "and a half that did better than all of the images leaves one that did worse. A limit can also break by "
        "flipped labels or by the largest difference of a probability. Above the interval: the draws in which the "
        "worst class of the other half (which may be another) dropped by more than the upper end of the interval that "
        "comes with the judged half's.",
        code_block([study.command]),
        origin(study.machine, study.versions),
    ]


def ladder_times(study: LadderStudy) -> list[str]:
    """What the simulation saves."""
    head = ["artifact", "limits", "every step: artifacts", "s", "margin held"]
    head += ["as exported: artifacts", "s", "margin held", "of the time"]
    lines = []
    for row in study.rows:
        share = f"{100 * row.simulated.seconds / row.every.seconds:.0f} %"
        lines.append([row.artifact, row.limits, *_climbed(row.every), *_climbed(row.simulated), share])
    return [
        "## What a ladder takes",
        "An export makes an artifact only where a simulation in torch says that it may hold its limits. The same "
        "ladders with every step made until one holds with its margin, and as they are exported, one after the other; "
        "with each target's own limits, and with limits that none holds, to the end. Where an export's ladder ended "
        "without the margin under a target's own limits, one of its steps held these, and no later one promised the "
        "margin. "
        f"{NICE[study.student]} on {study.data}; "
        "without calibration and the torch model's answers, which are made once for all.",
        Table(head, lines, "llrrlrrlr").markdown_as_is(),
        code_block([study.training, study.command]),
        origin(study.machine, study.versions),
    ]


def version_times(study: VersionsStudy) -> list[str]:
    """What a full ladder took in an earlier version."""
    head = ["artifact", "ladder, earlier: s", "now: s", "of the time", "command, earlier: s", "now: s"]
    lines = []
    for row in study.rows:
        ladder = _compared([(turn.earlier.ladder, turn.now.ladder) for turn in row.turns])
        command = _compared([(turn.earlier.command, turn.now.command) for turn in row.turns])
        lines.append([f"{row.target}-int8", *ladder, *command])
    turns = len(study.rows[0].turns)
    return [
        f"Before layers were chosen by the simulation (revision {study.earlier}) a ladder made its steps one after "
        f"another. The same `mlkdc export` with both versions, with limits that no step holds, in {turns} turns; each "
        "exports the run that it trained with the same command. Medians, and in brackets the least and the greatest. "
        "The ladder: from its first artifact to its last verdict, "
        "without calibration and the torch model's answers. The command also starts, reads images and lets the "
        "torch model answer, and in the end it makes an fp16 artifact where the target has that precision.",
        Table([*head, "of the time"], lines, "lrrrrrr").markdown_as_is(),
        code_block([study.training, study.export]),
        origin(study.machine, study.versions),
    ]


def _compared(turns: Sequence[tuple[float, float]]) -> list[str]:
    """The seconds of both versions, and what share the later one's are."""
    earlier, now = (number(median(seconds), 0) for seconds in zip(*turns, strict=True))
    shares = [100 * after / before for before, after in turns]
    return [earlier, now, f"{median(shares):.0f} % ({min(shares):.0f} to {max(shares):.0f})"]


def _climbed(climb: Climb) -> list[str]:
    held = "yes" if climb.held else "no"
    return [str(climb.artifacts), number(climb.seconds, 0), held]


def chosen(row: PromiseRow, rule: str) -> list[Choice]:
    """What a rule chose in each draw, where all limits held on the half that chose."""
    choices = [draw.margin for draw in row.draws]
    if rule == RULES[0]:
        choices = [draw.first for draw in row.draws]
    if rule == RULES[2]:
        choices = [choice for choice in choices if choice.firm]
    return [choice for choice in choices if choice.judged.held]


def _together(rows: Sequence[PromiseRow]) -> str:
    """Of all artifacts' draws: how often the limits held on the half that chose, and broke on the other."""
    parts = []
    for rule in RULES:
        held = [choice for row in rows for choice in chosen(row, rule)]
        broke = sum(not choice.other.held for choice in held)
        parts.append(f"{rule}: {counted(broke, 'time')} of {len(held)}")
    return f"Together, limits that held on a half broke on the other: {'; '.join(parts)}."


def _lines(rows: Sequence[PromiseRow]) -> list[list[str]]:
    return [_line(row, rule) for row in rows for rule in RULES]


def _line(row: PromiseRow, rule: str) -> list[str]:
    limits, held = row.tolerance, chosen(row, rule)
    others = [choice.other for choice in held]
    above = sum(choice.other.worst_class_drop_points > choice.judged.worst_class_upper_points for choice in held)
    return [
        row.artifact,
        rule,
        f"{len(held)} of {len(row.draws)}",
        str(sum(not other.held for other in others)),
        str(sum(other.map_drop_points > limits.map_drop_points for other in others)),
        str(sum(other.worst_class_drop_points > limits.class_drop_points for other in others)),
        str(above),
    ]
