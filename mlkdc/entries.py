"""Classes and other objects that packages name in their entry points."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract
from typing import TypeVar

from mlkdc.errors import UsageError

T = TypeVar("T")


def entry_classes(group: str, base: type[T]) -> Iterator[tuple[str, type[T], str]]:
    """Every class of a group of entry points: the name it goes by, the class, and the words for it in a message.

    Raises:
        UsageError: it cannot be imported, is not a subclass of ``base``, or has abstract methods or no docstring.
    """
    for entry in entry_points(group=group):
        words = entry_words(entry, group)
        yield entry.name, _checked(entry, base, words), words


def entry_words(entry: EntryPoint, group: str) -> str:
    """An entry point in a message."""
    words = f"the entry point {entry.name!r} of {group}, {entry.value},"
    if entry.dist:
        words = f"package {entry.dist.name}: {words}"
    return words


def load_entry(entry: EntryPoint, words: str) -> object:
    """What an entry point names.

    Raises:
        UsageError: it cannot be imported.
    """
    try:
        loaded: object = entry.load()
    # One that ends the program when it is imported, as a script without a guard does.
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{words} cannot be imported ({type(error).__name__}: {error}); fix or uninstall the package"
        ) from error
    return loaded


def _checked(entry: EntryPoint, base: type[T], words: str) -> type[T]:
    loaded = load_entry(entry, words)
    if not (isinstance(loaded, type) and issubclass(loaded, base)):
        package = base.__module__.rpartition(".")[0]
        raise UsageError(f"{words} is not a subclass of {package}.{base.__name__}; name a class that is one")
    if not (loaded.__doc__ or "").strip():
        raise UsageError(f"{words} has no docstring to show in lists; add one")
    # Otherwise it would only fail when a training begins.
    if isabstract(loaded):
        missing = ", ".join(sorted(getattr(loaded, "__abstractmethods__", ())))
        raise UsageError(f"{words} does not define {missing}; add it to the class")
    return loaded
