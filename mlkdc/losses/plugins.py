"""Methods of other packages: a term class each, found through entry points of the group ``mlkdc.methods``."""

from mlkdc.errors import UsageError
from mlkdc.losses.entries import entry_classes
from mlkdc.losses.term import TERMS, Term
from mlkdc.methods import GROUP, Method, method_names, register_method


def _add(name: str, term: type[Term], words: str) -> None:
    """Register the class as a term, and as a method that adds it to the cross-entropy, under the entry's name."""
    if name in TERMS or name in method_names():
        raise UsageError(f"{words} has the name of an existing term or method; change it")
    TERMS.register(name)(term)
    summary = (term.__doc__ or "").strip().splitlines()[0].rstrip(".")
    teacher = any(need.startswith("teacher.") for need in term.needs)
    terms = {"bce": 1.0, name: term.weight}
    register_method(Method(name=name, paper=term.paper, summary=summary, terms=terms, teacher=teacher))


for _entry in entry_classes(GROUP, Term):  # type: ignore[type-abstract]
    _add(*_entry)
