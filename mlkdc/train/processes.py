"""Several processes that train one model (torchrun): one of them, the main one, names and writes the run folder."""

import os
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

T = TypeVar("T")


def state() -> PartialState:
    """This process among all of them; the first call connects them."""
    # Without the hint the library does not connect processes on a machine that has no accelerator.
    return PartialState(cpu=not torch.accelerator.is_available())


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return bool(state().is_main_process)


def on_cpu() -> bool:
    """Whether this process trains on a CPU."""
    return bool(state().device.type == "cpu")


def count() -> int:
    """How many processes train."""
    return int(state().num_processes)


def count_here() -> int:
    """How many of them share this machine, as torchrun says."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def several() -> bool:
    """Whether more than one process trains."""
    return count() > 1


def agreed(make: Callable[[], T]) -> T:
    """What ``make()`` returns in the main process, in every process."""
    values: list[T | None] = [None]
    if is_main():
        values = [make()]
    broadcast_object_list(values)
    return cast(T, values[0])


def wait() -> None:
    """Block until every process has arrived here."""
    state().wait_for_everyone()
