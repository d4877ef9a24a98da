"""Sources of other packages, found through entry points of the group ``mlkdc.sources``."""

from mlkdc.entries import entry_classes
from mlkdc.errors import UsageError
from mlkdc.train.sources.base import SOURCES, Source

GROUP = "mlkdc.sources"

for _name, _source, _words in entry_classes(GROUP, Source):  # type: ignore[type-abstract]
    if _name in SOURCES or _name == "student":
        raise UsageError(f"{_words} has the name of an existing source; change it")
    SOURCES.register(_name)(_source)
