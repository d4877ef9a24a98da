"""The kinds of failure a user can meet, and the words for a mistyped name."""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlkdc.recipe import Recipe

SHOWN_NAMES = 20


class MlkdcError(Exception):
    """The job itself failed (parity, a NaN loss, a full disk). Exit code 1."""

    exit_code = 1


class UsageError(MlkdcError):
    """The command, the recipe or the data named by the user was wrong. Exit code 2."""

    exit_code = 2


class Interrupted(MlkdcError):
    """The user stopped a job that can be resumed. Exit code 130, as shells expect after Ctrl-C."""

    exit_code = 130


class RecipeError(UsageError):
    """One or more faults in a recipe.

    Args:
        faults: one sentence per fault, each starting with the dotted key it is about.
        source: where the recipe came from, named in the first line.
        rest: the recipe with defaults for what is faulty, where there can be one.
    """

    def __init__(self, faults: list[str], source: str, rest: "Recipe | None" = None) -> None:
        self.faults, self.source, self.rest = faults, source, rest
        count = f"{len(faults)} faults"
        if len(faults) == 1:
            count = "1 fault"
        super().__init__("\n  ".join([f"{source}: {count}", *faults]))


def nearest(name: str, valid: Iterable[str], how_many: int = 3) -> str:
    """A clause that names the closest valid spellings, or all of them when none is close.

    >>> nearest("mobilnet", ["mobilenetv2", "resnet50"])
    'did you mean mobilenetv2?'
    """
    names = sorted(set(valid))
    close = difflib.get_close_matches(name, names, n=how_many, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    shown = names[:SHOWN_NAMES]
    if len(names) > SHOWN_NAMES:
        shown.append("...")
    return f"valid: {', '.join(shown)}"


def first_line(error: BaseException) -> str:
    """The first line of another library's message, or its error's name where the message is empty."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
