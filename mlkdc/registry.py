"""Names for things that recipes choose by name; a mistyped name is answered with the nearest ones."""

import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Generic, TypeVar

from mlkdc.errors import UsageError, nearest

T = TypeVar("T")

_REGISTRATIONS: list[tuple["Registry[Any]", str]] = []
"""Every registration so far, in any registry."""


class Registry(Generic[T]):
    """Objects of one kind by name, filled by importing every module of a package once, on first use.

    Args:
        kind: what the names are, for messages (``method``, ``layout``).
        package: the package whose modules register themselves when imported.
        after: a module that registers things of other packages, imported after all of those.
    """

    def __init__(self, kind: str, package: str, after: str | None = None) -> None:
        self.kind = kind
        self._package = package
        self._after = after
        self._items: dict[str, T] = {}
        self._loaded = False
        self._loading = False
        self._lock = threading.RLock()
        self._unfinished: set[str] = set()
        """Names from modules whose import failed later on."""

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: register the decorated object under ``name``."""

        def add(item: T) -> T:
            if name in self:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._items[name] = item
            self._unfinished.discard(name)
            _REGISTRATIONS.append((self, name))
            return item

        return add

    def _load(self) -> None:
        if self._loaded:
            return
        with self._lock:  # another thread waits: half of the names would be as good as wrong
            self._fill()

    def _fill(self) -> None:
        # A module may ask for the names while it is imported from here: it gets those there are so far.
        if self._loaded or self._loading:
            return
        self._loading = True
        try:
            package = _import(self._package)
            for module in iter_modules(package.__path__):
                _import(f"{self._package}.{module.name}")
            if self._after:
                _import(self._after)
        finally:
            self._loading = False
        self._loaded = True
        self._unfinished.clear()

    def __contains__(self, name: object) -> bool:
        """Whether the name is registered by now; loads nothing."""
        return name in self._items and name not in self._unfinished

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._load()
        return sorted(self._items)

    def items(self) -> Iterator[tuple[str, T]]:
        """(name, object) pairs, sorted by name."""
        for name in self.names():
            yield name, self._items[name]

    def get(self, name: str) -> T:
        """The object of that name.

        Raises:
            UsageError: no such name; the message gives the nearest ones.
        """
        self._load()
        if name not in self._items:
            raise UsageError(f"unknown {self.kind} {name!r}; {nearest(name, self._items)}")
        return self._items[name]


def _import(module: str) -> ModuleType:
    """Import a module; if that fails, every registry is ready for it to be imported again.

    Python forgets a module whose import fails: the next import runs it from its first line, and it registers the same
    names once more.
    """
    before = len(_REGISTRATIONS)
    try:
        return import_module(module)
    except BaseException:
        for registry, name in _REGISTRATIONS[before:]:
            registry._unfinished.add(name)
            registry._loaded = False
        raise
