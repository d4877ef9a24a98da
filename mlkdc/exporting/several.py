"""Several exports in a row: one that cannot be made does not stop the others."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.exporting.builder import export_run, reference_of
from mlkdc.records.run import Run
from mlkdc.runtime.targets import load_target, target_names

Choice = tuple[str, str]
ALL = "all"


def choices(targets: Sequence[str], precisions: Sequence[str]) -> list[Choice]:
    """(target, precision) pairs.

    Args:
        targets: names, or ``all``.
        precisions: of each target; none = its first; ``all`` = all it has. Where several targets are asked for, those
            that lack a precision are left out of it.

    Raises:
        UsageError: an unknown target, or a precision that none of them has.
    """
    names = target_names() if ALL in targets else list(dict.fromkeys(targets))
    specs = [load_target(name) for name in names]
    asked = [name for name in dict.fromkeys(precisions) if name != ALL]
    for precision in asked:
        if len(specs) == 1:
            specs[0].tolerance(precision)
        elif not any(precision in spec.precisions for spec in specs):
            raise UsageError(f"none of {', '.join(names)} has precision {precision!r}; see `mlkdc ls targets`")
    found: list[Choice] = []
    for spec in specs:
        wanted = list(spec.precisions) if ALL in precisions else asked or [next(iter(spec.precisions))]
        found += [(spec.name, precision) for precision in wanted if precision in spec.precisions]
    return found


def export_several(
    run: Run, wanted: Sequence[Choice], *, say: Callable[[str], None], **options: Any
) -> Iterator[tuple[Choice, Path | MlkdcError]]:
    """Each choice with its artifact folder, or with why there is none.

    Args:
        run: finished.
        wanted: of :func:`choices`.
        say: called with a line of news.
        options: of :func:`~mlkdc.exporting.export_run`.
    """
    if len(wanted) > 1:
        options["reference"] = reference_of(run)
    for target, precision in wanted:
        say(f"exporting to {target}, {precision}")
        try:
            yield (target, precision), export_run(run, target, precision=precision, say=say, **options)
        except MlkdcError as error:
            yield (target, precision), error
