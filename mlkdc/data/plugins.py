"""Readers of other packages, found through entry points of the group ``mlkdc.layouts``."""

from importlib.metadata import entry_points

from mlkdc.data.layouts import GROUP, LAYOUTS, Layout
from mlkdc.entries import entry_words, load_entry
from mlkdc.errors import UsageError


def _layouts() -> dict[str, Layout]:
    """The layouts by the entries' names, all of them checked."""
    layouts: dict[str, Layout] = {}
    for entry in entry_points(group=GROUP):
        words = entry_words(entry, GROUP)
        layout = load_entry(entry, words)
        if not isinstance(layout, Layout):
            raise UsageError(f"{words} is not a mlkdc.data.layouts.Layout; name one: Layout(summary, detect, read)")
        if entry.name in layouts or entry.name in LAYOUTS:
            raise UsageError(f"{words} has the name of an existing layout; change it")
        layouts[entry.name] = layout
    return layouts


# First all checks, then all registrations: after a fault nothing is left behind, and the next try reports it again.
for _name, _layout in _layouts().items():
    LAYOUTS.register(_name)(_layout)
