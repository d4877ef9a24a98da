"""This computer as a record."""

from dataclasses import asdict

from mlkdc.records.machine import Machine
from mlkdc.runtime.system import system


def machine(device: str = "cpu") -> Machine:
    """This computer; ``device`` is what the model runs on."""
    return Machine(**asdict(system()), device=device)
