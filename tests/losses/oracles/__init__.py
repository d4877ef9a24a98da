"""Every loss term once more: slow loops in float64, written from the papers' equations alone.

One module per paper family. Its ``ORACLES`` maps a term's name to ``oracle(batch, form, term)``: the batch is in
float64 already, ``term`` is the tested object, read only for its trainable layers: the papers' constants are written
here, so that a wrong default of an option is found.
"""

from importlib import import_module
from pkgutil import iter_modules

ORACLES = {}
for _module in iter_modules(__path__):
    ORACLES |= import_module(f"{__name__}.{_module.name}").ORACLES
