"""Loss terms by themselves on random outputs: time, memory, and the same in the plain loops of the tests."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from math import perm
from typing import Any

import torch
from losses_tools import (
    Call,
    Sizes,
    draw_batch,
    equal_weights,
    in_turns,
    leaves,
    memory,
    milliseconds,
    only,
    ratios,
    spread,
    whole_pass,
    with_gradient,
)
from oracles import ORACLES
from oracles.mdkd import along_paths, batch_level, huber, instance_level
from torch import Tensor

from mlkdc.losses import TERMS, Batch, Objective
from mlkdc.methods import load_method, method_names

LOOP_LIMIT = 8.0
"""Seconds of the processor after which a loop is given up."""


def loop_pass(objective: Objective, batch: Batch) -> Call:
    """The same in plain loops, which work in float64."""
    exact = only(batch, objective.needs).map(lambda _, own: own.map(lambda x: x.detach().double()))
    exact = with_gradient(exact)
    for term in objective.terms.values():
        if term.layers is not None:
            term.layers.double()
    wanted = leaves(exact, objective)

    def call() -> Tensor:
        loss = sum(ORACLES[name](exact, term.form, term) for name, term in objective.terms.items())
        torch.autograd.grad(loss, wanted, allow_unused=True)
        return loss.detach()

    return call


class _TooLongError(Exception):
    pass


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooLongError

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
    whole_pass(objective, batch)  # makes the layers
    try:
        with _at_most(LOOP_LIMIT):
            return milliseconds(loop_pass(objective, batch), seconds=0)
    except _TooLongError:
        return None


#: Sizes at which a tensor of b q^2 or of b q d^2 elements would tower above all that is allowed.
PROBES = {
    "b q^2": (Sizes(images=16, labels=512, dim=8, pooled=(8, 8)), 16 * 512**2),
    "b q d^2": (Sizes(images=16, labels=16, dim=512, pooled=(512, 512)), 16 * 16 * 512**2),
}


def every_term(sizes: Sizes, passes: int) -> list[dict[str, Any]]:
    """One row for each registered term."""
    batch, names = draw_batch(sizes), TERMS.names()
    taken = in_turns({name: whole_pass(equal_weights(name), batch) for name in names}, passes)
    probes = {kind: (draw_batch(probe), forbidden) for kind, (probe, forbidden) in PROBES.items()}
    rows = []
    for name in names:
        peak, largest = memory(whole_pass(equal_weights(name), batch))
        shares = {}
        for kind, (probe, forbidden) in probes.items():
            # As if all were float32: an index tensor counts twice.
            shares[kind] = memory(whole_pass(equal_weights(name), probe))[1] / 4 / forbidden
        rows.append(
            {
                "name": name,
                "methods": [method for method in method_names() if name in load_method(method).terms],
                "ms": spread(taken[name]),
                "peak_bytes": peak,
                "largest_bytes": largest,
                "shares": shares,
                "has_loop": name in ORACLES,
                "enumerates": name in PATHS,
                "loop_ms": loop_milliseconds(name, batch),
            }
        )
    return rows


def _by_group(batch: Batch) -> Tensor:
    """CD and ID with one distance matrix for each class and image, as L2D's release has them."""
    assert batch.teacher is not None
    loss = torch.zeros(())
    positives = batch.targets.nonzero()
    for groups in (positives[:, 1], positives[:, 0]):
        for group in groups.unique():
            members = groups == group
            count = int(members.sum())
            if count < 2:
                continue
            sides = []
            for outputs in (batch.student, batch.teacher):
                assert outputs.embeddings is not None
                vectors = outputs.embeddings[members]
                table = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
                sides.append(table / (table.sum() / (count * (count - 1))))
            loss = loss + torch.nn.functional.smooth_l1_loss(sides[0], sides[1], reduction="sum") / count
    return loss


def led(sizes: Sizes, passes: int) -> dict[str, Any]:
    """CD and ID together, against loops over pairs and loops over groups."""
    batch, objective = draw_batch(sizes), equal_weights("cd", "id")
    grouped = only(batch, objective.needs)

    def by_group() -> Tensor:
        loss = _by_group(grouped)
        torch.autograd.grad(loss, leaves(grouped), allow_unused=True)
        return loss.detach()

    ours = whole_pass(objective, batch)
    calls = {"ours": ours, "groups": by_group, "pairs": loop_pass(equal_weights("cd", "id"), batch)}
    taken = in_turns(calls, passes)
    expected = calls["pairs"]()
    differences = {name: float((calls[name]() / expected - 1).abs()) for name in ("ours", "groups")}
    times = {name: spread(values) for name, values in taken.items()}
    ratio = {name: ratios(taken[name], taken["ours"]) for name in ("groups", "pairs")}
    return {"ms": times, "ratio": ratio, "difference": differences, "peak_bytes": memory(ours)[0]}


ORDERS = (2, 3, 4)
PATHS = {f"{level}{order}" for level in ("bd", "id") for order in range(2, 7)}
"""Terms whose loop form enumerates paths."""


def _names(*orders: int) -> list[str]:
    return [f"{level}{order}" for level in ("bd", "id") for order in orders]


def mdkd_orders(sizes: Sizes, passes: int) -> dict[str, Any]:
    """The terms of several orders in one objective."""
    batch = draw_batch(sizes)
    sets = {"2-4": (2, 3, 4), "2-6": (2, 3, 4, 5, 6), "4": (4,), "6": (6,)}
    calls = {name: whole_pass(equal_weights(*_names(*orders)), batch) for name, orders in sets.items()}
    taken = in_turns(calls, passes)
    return {
        "ms": {name: spread(values) for name, values in taken.items()},
        "peak_bytes": {name: memory(call)[0] for name, call in calls.items()},
        "ratio": {"6 / 4": ratios(taken["6"], taken["4"]), "2-6 / 2-4": ratios(taken["2-6"], taken["2-4"])},
    }


def _dependencies(batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """Order-2 dependencies ``[images, q, q]`` of teacher and student: of every image, and of the batch."""
    assert batch.teacher is not None
    sides = [side.logits.sigmoid() for side in (batch.teacher, batch.student)]
    tables = [(p[:, :, None] - p[:, None]).square() for p in sides]
    return [(tables[0], tables[1]), (tables[0].mean(0, keepdim=True), tables[1].mean(0, keepdim=True))]


def _enumerated(batch: Batch, paths: dict[int, Tensor] | None) -> Tensor:
    """All orders over all paths: image by image, or (``paths`` made before) all images at once."""
    loss = torch.zeros((), dtype=torch.float64)
    for teachers, students in _dependencies(batch):
        for order in ORDERS:
            if paths is None:
                pairs = zip(teachers, students, strict=True)
                loss = loss + sum(along_paths(*pair, order) for pair in pairs) / len(teachers)
            else:
                along, difference = paths[order], teachers - students
                edges = [difference[:, along[:, i], along[:, i + 1]] for i in range(order - 1)]
                loss = loss + huber(sum(edges) / (order - 1)).mean()
    return loss


def mdkd_enumeration(images: int, labels: int, passes: int) -> dict[str, Any]:
    """Orders 2 to 4 at a number of labels that can be enumerated."""
    batch = only(draw_batch(Sizes(images, labels)), frozenset({"teacher.logits"}))
    exact = with_gradient(batch.map(lambda _, outputs: outputs.map(lambda x: x.detach().double())))
    made = {order: torch.tensor(list(permutations(range(labels), order))) for order in ORDERS}

    def enumeration(paths: dict[int, Tensor] | None) -> Call:
        def call() -> Tensor:
            loss = _enumerated(exact, paths)
            torch.autograd.grad(loss, leaves(exact))
            return loss.detach()

        return call

    objective = equal_weights(*_names(*ORDERS))
    calls = {"ours": whole_pass(objective, batch), "loop": enumeration(None), "at once": enumeration(made)}
    taken = in_turns(calls, passes)
    expected: dict[str, Tensor] = {}
    for order in ORDERS:
        expected |= {f"bd{order}": batch_level(exact, "reference", None, order)}
        expected |= {f"id{order}": instance_level(exact, "reference", None, order)}
    found = objective(batch)
    differences = [float((found[name] / expected[name] - 1).abs().detach()) for name in found]
    return {
        "labels": labels,
        "paths": sum(perm(labels, order) for order in ORDERS),
        "ms": {name: spread(values) for name, values in taken.items()},
        "at_once_peak_bytes": memory(calls["at once"])[0],
        "difference": max(differences),
    }
