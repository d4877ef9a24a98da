"""Methods of other packages: a term class each, found through entry points of the group ``mlkdc.methods``."""

from mlkdc.entries import entry_classes
from mlkdc.errors import UsageError
from mlkdc.losses.term import TERMS, Term
from mlkdc.methods import GROUP, Method, method_names, register_method


def _terms() -> dict[str, type[Term]]:
    """The classes by the entries' names, all of them checked."""
    terms: dict[str, type[Term]] = {}
    for name, term, words in entry_classes(GROUP, Term):  # type: ignore[type-abstract]
        if name in terms or name in TERMS or name in method_names():
            raise UsageError(f"{words} has the name of an existing term or method; change it")
        terms[name] = term
    return terms


def _method(name: str, term: type[Term]) -> Method:
    """The method that adds the term to the cross-entropy."""
    return Method(
        name=name,
        paper=term.paper,
        summary=(term.__doc__ or "").strip().splitlines()[0].rstrip("."),
        terms={"bce": 1.0, name: term.weight},
        teacher=any(need.startswith("teacher.") for need in term.needs),
    )


# First all checks, then all registrations: after a fault nothing is left behind, and the next try reports it again.
for _name, _term in _terms().items():
    TERMS.register(_name)(_term)
    register_method(_method(_name, _term))
