"""MDKD's terms: several orders at once, and in place of the closed form an enumeration of all paths."""

from collections.abc import Mapping
from itertools import permutations
from math import perm

import torch
from losses_loops import in_double
from losses_records import Enumeration, Extrapolation, MdkdCost, OrdersCost, Sizes
from losses_tools import (
    Call,
    complete_pass,
    draw_batch,
    equal_weights,
    in_turns,
    leaves,
    memory,
    only,
    ratios,
    spread,
    with_gradient,
)
from oracles.mdkd import along_paths, batch_level, huber, instance_level
from torch import Tensor

from mlkdc.losses import Batch

IMAGES = 32
#: The paper's default orders, which are enumerated.
ORDERS = (2, 3, 4)
#: Sets of orders that are timed together, by their name in the document.
ORDER_SETS = {"2-4": ORDERS, "2-6": (2, 3, 4, 5, 6), "4": (4,), "6": (6,)}


def mdkd(labels: int, enumerated_labels: tuple[int, ...], passes: int) -> MdkdCost:
    """All measurements of MDKD.

    Args:
        labels: of the comparison of orders; enumeration is extrapolated to them.
        enumerated_labels: numbers of labels whose paths are enumerated, ascending.
        passes: over the orders; the slow enumeration has two.
    """
    enumeration = tuple(mdkd_enumeration(IMAGES, count, passes=2) for count in enumerated_labels)
    batch = draw_batch(Sizes(images=IMAGES, labels=labels))
    calls = {}
    for name, orders in ORDER_SETS.items():
        calls[name] = complete_pass(equal_weights(*_terms(orders)), batch)
    taken = in_turns(calls, passes)
    rows = []
    for name, call in calls.items():
        rows.append(OrdersCost(orders=name, ms=spread(taken[name]), peak_bytes=memory(call)[0]))
    return MdkdCost(
        images=IMAGES,
        orders=tuple(rows),
        order_6_over_4=ratios(taken["6"], taken["4"]),
        orders_2_6_over_2_4=ratios(taken["2-6"], taken["2-4"]),
        enumeration=enumeration,
        extrapolated=_extrapolated(enumeration[-1], labels),
    )


def _terms(orders: tuple[int, ...]) -> list[str]:
    return [f"{level}{order}" for level in ("bd", "id") for order in orders]


def _paths(labels: int) -> int:
    return sum(perm(labels, order) for order in ORDERS)


def _extrapolated(last: Enumeration, labels: int) -> Extrapolation:
    """In proportion to the number of paths, from the largest that was enumerated."""
    scale = _paths(labels) / last.paths
    return Extrapolation(
        labels=labels,
        paths=_paths(labels),
        loop_ms=scale * last.loop_ms.median,
        at_once_ms=scale * last.at_once_ms.median,
        at_once_peak_bytes=scale * last.at_once_peak_bytes,
    )


def mdkd_enumeration(images: int, labels: int, passes: int) -> Enumeration:
    """Orders 2 to 4 at a number of labels that can be enumerated."""
    batch = only(draw_batch(Sizes(images=images, labels=labels)), frozenset({"teacher.logits"}))
    exact = with_gradient(batch.map(in_double))
    paths = {}
    for order in ORDERS:
        paths[order] = torch.tensor(list(permutations(range(labels), order)))
    objective = equal_weights(*_terms(ORDERS))
    ours, at_once = complete_pass(objective, batch), _enumeration(exact, paths)
    taken = in_turns({"ours": ours, "loop": _enumeration(exact, None), "at once": at_once}, passes)
    expected: dict[str, Tensor] = {}
    for order in ORDERS:
        expected[f"bd{order}"] = batch_level(exact, "reference", None, order)
        expected[f"id{order}"] = instance_level(exact, "reference", None, order)
    difference = 0.0
    for name, value in objective(batch).items():
        difference = max(difference, float((value / expected[name] - 1).abs().detach()))
    return Enumeration(
        labels=labels,
        paths=_paths(labels),
        ours_ms=spread(taken["ours"]),
        loop_ms=spread(taken["loop"]),
        at_once_ms=spread(taken["at once"]),
        at_once_peak_bytes=memory(at_once)[0],
        difference=difference,
    )


def _enumeration(batch: Batch, paths: Mapping[int, Tensor] | None) -> Call:
    """Forward and backward pass over all paths: image by image, or (``paths`` made before) all images at once."""

    def call() -> Tensor:
        loss = torch.zeros((), dtype=torch.float64)
        for teachers, students in _dependencies(batch):
            for order in ORDERS:
                if paths is None:
                    loss = loss + _image_by_image(teachers, students, order)
                else:
                    loss = loss + _at_once(teachers, students, paths[order])
        torch.autograd.grad(loss, leaves(batch))
        return loss.detach()

    return call


def _dependencies(batch: Batch) -> list[tuple[Tensor, Tensor]]:
    """Order-2 dependencies ``[images, q, q]`` of teacher and student: of every image, and of the batch."""
    assert batch.teacher is not None
    teacher, student = _pair_terms(batch.teacher.logits), _pair_terms(batch.student.logits)
    return [(teacher, student), (teacher.mean(0, keepdim=True), student.mean(0, keepdim=True))]


def _pair_terms(logits: Tensor) -> Tensor:
    p = logits.sigmoid()
    return (p[:, :, None] - p[:, None]).square()


def _image_by_image(teachers: Tensor, students: Tensor, order: int) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for teacher, student in zip(teachers, students, strict=True):
        total = total + along_paths(teacher, student, order)
    return total / len(teachers)


def _at_once(teachers: Tensor, students: Tensor, paths: Tensor) -> Tensor:
    """``paths``: ``[n, order]``, the labels of each path."""
    difference, count = teachers - students, paths.shape[1] - 1
    edges = [difference[:, paths[:, edge], paths[:, edge + 1]] for edge in range(count)]
    loss: Tensor = huber(sum(edges) / count).mean()
    return loss
