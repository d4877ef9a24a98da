"""Loss terms by themselves on random outputs: time, memory, and the same in plain loops."""

from collections.abc import Sequence

import torch
from losses_loops import PATHS, loop_milliseconds, loop_pass
from losses_records import LedCost, Sizes, TermCost
from losses_tools import complete_pass, draw_batch, equal_weights, in_turns, leaves, memory, only, ratios, spread
from oracles import ORACLES
from torch import Tensor

from mlkdc.losses import TERMS, Batch, Outputs
from mlkdc.methods import load_method, method_names

#: Sizes at which a tensor of b q^2 or of b q d^2 elements would tower above all that is allowed.
PROBES = {
    "b q^2": (Sizes(images=16, labels=512, dim=8, pooled=(8, 8)), 16 * 512**2),
    "b q d^2": (Sizes(images=16, labels=16, dim=512, pooled=(512, 512)), 16 * 16 * 512**2),
}


def every_term(sizes: Sizes, passes: int, names: Sequence[str] | None = None) -> tuple[TermCost, ...]:
    """One row for each registered term, or for those that are named."""
    batch = draw_batch(sizes)
    if names is None:
        names = TERMS.names()
    taken = in_turns({name: complete_pass(equal_weights(name), batch) for name in names}, passes)
    probes = {}
    for kind, (probe_sizes, forbidden) in PROBES.items():
        probes[kind] = draw_batch(probe_sizes), forbidden
    rows = []
    for name in names:
        peak, largest = memory(complete_pass(equal_weights(name), batch))
        fractions = {}
        for kind, (probe, forbidden) in probes.items():
            # As if all were float32: an index tensor counts twice.
            elements = memory(complete_pass(equal_weights(name), probe))[1] / 4
            fractions[kind] = elements / forbidden
        row = TermCost(
            name=name,
            methods=_methods_with(name),
            ms=spread(taken[name]),
            peak_bytes=peak,
            largest_bytes=largest,
            largest_fractions=fractions,
            has_loop=name in ORACLES,
            enumerates=name in PATHS,
            loop_ms=loop_milliseconds(name, batch),
        )
        rows.append(row)
    return tuple(rows)


def _methods_with(term: str) -> tuple[str, ...]:
    return tuple(method for method in method_names() if term in load_method(method).terms)


def led(sizes: Sizes, passes: int) -> LedCost:
    """CD and ID together, against loops over pairs and loops over groups."""
    batch, objective = draw_batch(sizes), equal_weights("cd", "id")
    grouped = only(batch, objective.needs)

    def by_group() -> Tensor:
        loss = _by_group(grouped)
        torch.autograd.grad(loss, leaves(grouped), allow_unused=True)
        return loss.detach()

    ours, by_pair = complete_pass(objective, batch), loop_pass(equal_weights("cd", "id"), batch)
    taken = in_turns({"ours": ours, "groups": by_group, "pairs": by_pair}, passes)
    expected = by_pair()
    return LedCost(
        ours_ms=spread(taken["ours"]),
        by_group_ms=spread(taken["groups"]),
        by_pair_ms=spread(taken["pairs"]),
        by_group_ratio=ratios(taken["groups"], taken["ours"]),
        by_pair_ratio=ratios(taken["pairs"], taken["ours"]),
        difference=float((ours() / expected - 1).abs()),
        by_group_difference=float((by_group() / expected - 1).abs()),
        peak_bytes=memory(ours)[0],
    )


def _by_group(batch: Batch) -> Tensor:
    """CD and ID with one distance matrix for each class and image, as L2D's release has them."""
    assert batch.teacher is not None
    loss = torch.zeros(())
    positives = batch.targets.nonzero()
    for groups in (positives[:, 1], positives[:, 0]):
        for group in sorted(set(groups.tolist())):
            members = groups == group
            count = int(members.sum())
            if count < 2:
                continue
            student, teacher = _distances(batch.student, members), _distances(batch.teacher, members)
            loss = loss + torch.nn.functional.smooth_l1_loss(student, teacher, reduction="sum") / count
    return loss


def _distances(outputs: Outputs, members: Tensor) -> Tensor:
    """Of every pair of these embeddings, as a fraction of their mean."""
    assert outputs.embeddings is not None
    vectors = outputs.embeddings[members]
    count = len(vectors)
    table = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    return table / (table.sum() / (count * (count - 1)))
