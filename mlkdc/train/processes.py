"""Several processes that train one model (torchrun): one of them names and writes the run folder."""

from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

T = TypeVar("T")


def state() -> PartialState:
    """This process among all of them; joins them on the first call."""
    # Left to itself the library takes processes on a machine without an accelerator for strangers.
    return PartialState(cpu=not torch.accelerator.is_available())


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return bool(state().is_main_process)


def several() -> bool:
    """Whether more than one process trains."""
    return int(state().num_processes) > 1


def agreed(make: Callable[[], T]) -> T:
    """What ``make()`` gives in the main process, in all of them."""
    found: list[T | None] = [make() if is_main() else None]
    broadcast_object_list(found)
    (value,) = found
    return value  # type: ignore[return-value]


def wait() -> None:
    """Until all processes have come here."""
    state().wait_for_everyone()
