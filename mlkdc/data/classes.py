"""The classes of a data set: as listed by the user, and what looks wrong with their names."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from mlkdc.data.layouts import read_lines
from mlkdc.data.text import clean_label, is_text
from mlkdc.errors import UsageError
from mlkdc.types import Problem

#: Words that people write where there is no label; of two labels, one may be called so.
_NO_LABEL = ("none", "null", "n/a", "na", "unlabeled", "no label", "no_label", "[]")


def listed_classes(file: Path) -> tuple[str, ...]:
    """The classes of a file with one a line.

    Raises:
        UsageError: none, or one twice.
    """
    names = [clean_label(name) for name in read_lines(file)]
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated or not names:
        raise UsageError(f"{file}: expected one class per line, each once; got twice: {', '.join(repeated) or '-'}")
    return tuple(names)


def check_classes(root: Path, layout: str, classes: Sequence[str]) -> None:
    """Check that each class is there once and on one line, as classes.txt of a run and JSON by name need it.

    Raises:
        UsageError: one is not.
    """
    for name, times in Counter(classes).items():
        if times > 1:
            raise UsageError(f"{root}: read as {layout!r}, {times} classes are called {name!r}; rename them")
        if not name or name != clean_label(name):
            raise UsageError(f"{root}: read as {layout!r}, a class is called {name!r}; give it a name of one line")
        if not is_text(name):
            raise UsageError(f"{root}: read as {layout!r}, a class is called {name!r}, which is not UTF-8; rename it")


def odd_names(classes: Sequence[str]) -> list[Problem]:
    """Labels that are most likely one label written in two ways, or several labels that were not taken apart."""
    spellings = defaultdict(list)
    for name in classes:
        spellings["".join(name.lower().replace("_", " ").split())].append(name)
    problems = []
    for names in spellings.values():
        if len(names) > 1:
            problems.append(Problem("similar labels", " / ".join(names)))
    for name in classes:
        if name.lower() in _NO_LABEL:
            detail = "if it means that there is no label, leave its cells empty"
            problems.append(Problem("label that may be none", name, detail))
    known = set(classes)
    for name in classes:
        parts = [part for part in re.split(r"[\s,;|&+]+", name) if part]
        if len(parts) > 1 and known.issuperset(parts):
            problems.append(Problem("label made of others", name, f"{', '.join(parts)} are labels too"))
    return problems
