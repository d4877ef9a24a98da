"""Methods of other packages: one class each, found through entry points of the group ``mlkdc.methods``."""

from importlib.metadata import EntryPoint, entry_points

from mlkdc.errors import UsageError
from mlkdc.losses.base import METHODS, TERMS, Method, Term, add_method

GROUP = "mlkdc.methods"


def _add(entry: EntryPoint) -> None:
    """Register the class as a term, and as a method that adds it to the cross-entropy, under the entry's name."""
    package = f"package {entry.dist.name}: " if entry.dist else ""
    what = f"{package}the entry point {entry.name!r} of {GROUP}, {entry.value},"
    try:
        term = entry.load()
    except Exception as error:
        raise UsageError(
            f"{what} cannot be imported ({type(error).__name__}: {error}); mend or uninstall the package"
        ) from error
    if not (isinstance(term, type) and issubclass(term, Term)):
        raise UsageError(f"{what} is not a subclass of mlkdc.losses.Term; name a class that is one")
    taken = entry.name in TERMS or entry.name in METHODS
    if taken or not (term.__doc__ or "").strip():
        fault = "has the name of an existing term or method" if taken else "has no docstring to show in lists"
        raise UsageError(f"{what} {fault}; change it")
    TERMS.register(entry.name)(term)
    summary = (term.__doc__ or "").strip().splitlines()[0].rstrip(".")
    add_method(Method(entry.name, term.paper, summary, {"bce": 1, entry.name: term.weight}))


for _entry in entry_points(group=GROUP):
    _add(_entry)
