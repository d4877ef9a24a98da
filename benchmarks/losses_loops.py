"""Loss terms as the plain loops of the tests, with a limit on the time they take."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from losses_tools import Call, complete_pass, equal_weights, leaves, milliseconds, only, with_gradient
from oracles import ORACLES
from torch import Tensor

from mlkdc.losses import Batch, Objective, Outputs

#: Seconds of the processor after which a loop is given up.
LOOP_LIMIT = 8.0
#: Terms whose loop form enumerates paths, which takes hours at the sizes of the other loops.
PATHS = {f"{level}{order}" for level in ("bd", "id") for order in range(2, 7)}


def in_double(source: str, outputs: Outputs) -> Outputs:
    """Without gradient, in float64."""
    return outputs.detach().map(Tensor.double)


def loop_pass(objective: Objective, batch: Batch) -> Call:
    """Forward and backward pass in plain loops, which work in float64; the terms' layers are there already."""
    exact = with_gradient(only(batch, objective.needs).map(in_double))
    for term in objective.terms.values():
        if term.layers is not None:
            term.layers.double()
    inputs = leaves(exact, objective)

    def call() -> Tensor:
        loss = torch.zeros((), dtype=torch.float64)
        for name, term in objective.terms.items():
            loss = loss + ORACLES[name](exact, term.form, term)
        torch.autograd.grad(loss, inputs, allow_unused=True)
        return loss.detach()

    return call


class _TooLongError(Exception):
    pass


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooLongError

    # A loop in Python can be interrupted between two instructions; SIGPROF counts the processor's time.
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def loop_milliseconds(name: str, batch: Batch) -> float | None:
    """One run of a term's loop form; None where it takes longer than the limit or there is none."""
    if name not in ORACLES or name in PATHS:
        return None
    objective = equal_weights(name)
    complete_pass(objective, batch)  # makes the layers
    try:
        with _at_most(LOOP_LIMIT):
            return milliseconds(loop_pass(objective, batch), seconds=0)
    except _TooLongError:
        return None
