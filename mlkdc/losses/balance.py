"""How much each term of a loss moves the student, and weights adapted to give terms the share that is wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mlkdc.losses.objective import Objective
from mlkdc.records.results import TermGradient

#: Measured so often in an epoch, but at least every so many steps.
MEASUREMENTS, MOST_STEPS = 20, 50
#: A factor changes by no more than this at one measurement, and stays within these bounds.
LARGEST_CHANGE = 1.5
BOUNDS = (1e-6, 1e6)
#: How much of a norm's running mean is kept at the next measurement.
KEPT = 0.7


@dataclass(frozen=True)
class Norms:
    """Euclidean norms of one weighted term's gradient, over all images of the batch.

    Args:
        features: at the student's last feature map.
        logits: at its logits; None where the term does not reach them.
    """

    features: float
    logits: float | None


def gradient_norms(
    terms: Mapping[str, Tensor], logits: Tensor, features: Tensor, scale: float = 1.0
) -> dict[str, Norms]:
    """The norms by term; the graph is kept for the training's own backward pass.

    In a training by several processes all of them must call it in the same step: they have parts of the batch.

    Args:
        terms: scalars.
        logits: ``[b, q]`` that they were computed from.
        features: ``[b, C, h, w]`` that the logits, and all else the terms look at, were computed from.
        scale: what the gradients are multiplied by on their way, so that half precision holds them.
    """
    squares, reached = [], []
    for term in terms.values():
        arrived: Sequence[Tensor | None] = (None, None)
        if term.requires_grad:
            arrived = torch.autograd.grad(scale * term, (features, logits), retain_graph=True, allow_unused=True)
        squares += [_square(gradient, features) for gradient in arrived]
        reached.append(arrived[1] is not None)
    total = torch.stack(squares)
    processes = 1
    if dist.is_available() and dist.is_initialized():
        # What arrives in a process is the sum over all of them, each of which has the loss of the full batch.
        processes = dist.get_world_size()
        dist.all_reduce(total)
    values = (total.sqrt() / (scale * processes)).view(-1, 2).tolist()
    norms = {}
    for name, (at_features, at_logits), has_logits in zip(terms, values, reached, strict=True):
        norms[name] = Norms(at_features, at_logits if has_logits else None)
    return norms


def _square(gradient: Tensor | None, like: Tensor) -> Tensor:
    if gradient is None:
        return torch.zeros((), device=like.device)
    return gradient.float().square().sum()


class Balance:
    """Measures the terms' gradients every few steps, and holds some of them at a share of their sum.

    A held term's weight has a factor. Its gradient at factor 1 and the others' gradients are followed by running means;
    each measurement moves the factor towards the one that gives the term its share, by 1.5 times at most. Where a ramp
    holds back a term's weight, it holds back its share.

    Args:
        objective: its ``factors`` are set.
        wanted: share by held term, their sum below 1.
        steps: of an epoch.
    """

    def __init__(self, objective: Objective, wanted: Mapping[str, float], steps: int) -> None:
        self.objective, self.wanted = objective, dict(wanted)
        self.every = max(1, min(MOST_STEPS, steps // MEASUREMENTS))
        self._usual: dict[str, float] = {}
        """Running means of norms by term: at factor 1 and full weight for those held, as they are for the others."""
        self._rows: list[dict[str, TermGradient]] = []

    def due(self, step: int) -> bool:
        """Whether to measure in this step of an epoch; never where there is one term only."""
        return len(self.objective.terms) > 1 and step % self.every == 0

    def measured(self, norms: Mapping[str, Norms], progress: float) -> None:
        """Take note of norms, and adapt the factors for the steps to come.

        Args:
            norms: by term.
            progress: fraction of the training that was done when they were measured.
        """
        total = sum(norm.features for norm in norms.values())
        # Half precision can overflow for a step, and a batch without any gradient says nothing.
        if not 0 < total < float("inf"):
            return
        row = {}
        for name, norm in norms.items():
            row[name] = TermGradient(
                norm=norm.features,
                share=norm.features / total,
                logits_norm=norm.logits,
                weight=self.objective.weight(name, progress),
                risen=self.objective.risen(name, progress),
            )
        self._rows.append(row)
        if self.wanted:
            self._follow(row)
            self._adapt(row)

    def _follow(self, row: Mapping[str, TermGradient]) -> None:
        for name, gradient in row.items():
            norm = gradient.norm
            # No pairs in this batch, or no weight yet: nothing is learned about the term.
            if norm == 0:
                continue
            if name in self.wanted:
                norm /= self.objective.factors[name] * gradient.risen
            before = self._usual.get(name, norm)
            # In logarithms: norms of small batches scatter by factors, and a rare large one must not count for many.
            self._usual[name] = before**KEPT * norm ** (1 - KEPT)

    def _adapt(self, row: Mapping[str, TermGradient]) -> None:
        shares = {name: share * row[name].risen for name, share in self.wanted.items()}
        others = sum(norm for name, norm in self._usual.items() if name not in self.wanted)
        rest = 1 - sum(shares.values())
        for name, share in shares.items():
            if share == 0 or others == 0 or name not in self._usual:
                continue
            norm = self._usual[name] * row[name].risen
            factor = self.objective.factors[name]
            change = share / rest * others / norm / factor
            factor *= min(LARGEST_CHANGE, max(1 / LARGEST_CHANGE, change))
            self.objective.factors[name] = min(BOUNDS[1], max(BOUNDS[0], factor))

    def start(self) -> None:
        """An epoch begins."""
        self._rows = []

    def means(self) -> dict[str, TermGradient]:
        """Of the epoch's measurements, by term; empty where there was none."""
        means = {}
        if self._rows:
            for name in self._rows[0]:
                means[name] = _mean([row[name] for row in self._rows])
        return means

    def state(self) -> dict[str, Any]:
        """What a resumed training needs."""
        return {"factors": dict(self.objective.factors), "usual": dict(self._usual)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state` returned."""
        self.objective.factors.update(state["factors"])
        self._usual = dict(state["usual"])


def _mean(rows: list[TermGradient]) -> TermGradient:
    count = len(rows)
    at_logits = [row.logits_norm for row in rows if row.logits_norm is not None]
    logits_norm = None
    if at_logits:
        logits_norm = sum(at_logits) / len(at_logits)
    return TermGradient(
        norm=sum(row.norm for row in rows) / count,
        share=sum(row.share for row in rows) / count,
        logits_norm=logits_norm,
        weight=sum(row.weight for row in rows) / count,
        risen=sum(row.risen for row in rows) / count,
    )
