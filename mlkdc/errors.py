"""The two kinds of failure a user can meet, and the words for a mistyped name."""

import difflib
from collections.abc import Iterable


class MlkdcError(Exception):
    """The job itself failed (parity, a NaN loss, a full disk). Exit code 1."""

    exit_code = 1


class UsageError(MlkdcError):
    """The command, the recipe or the data named by the user was wrong. Exit code 2."""

    exit_code = 2


class Interrupted(MlkdcError):
    """The user stopped a job that can be gone on with. Exit code 130, as shells expect after Ctrl-C."""

    exit_code = 130


class RecipeError(UsageError):
    """One or more faults in a recipe.

    Args:
        faults: one sentence per fault, each starting with the dotted key it is about.
        source: where the recipe came from, named in the first line.
    """

    def __init__(self, faults: list[str], source: str) -> None:
        self.faults = faults
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__(f"{source}: {count}\n" + "\n".join(f"  {fault}" for fault in faults))


def nearest(name: str, valid: Iterable[str], how_many: int = 3) -> str:
    """A clause that names the closest valid spellings, or all of them when none is close.

    >>> nearest("mobilnet", ["mobilenetv2", "resnet50"])
    'did you mean mobilenetv2?'
    """
    names = sorted(set(valid))
    close = difflib.get_close_matches(name, names, n=how_many, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    shown = ", ".join(names[:20])
    return f"valid: {shown}{', ...' if len(names) > 20 else ''}"


def first_line(error: BaseException) -> str:
    """The first line of what another library says, or its error's name where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
