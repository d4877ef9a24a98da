"""What the measurements of losses share: random outputs of any size, clocks that take turns, and memory."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from losses_records import MapShape, Sizes, Spread
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from mlkdc.losses import TERMS, Batch, Objective, Outputs
from mlkdc.losses.batch import LEARNED
from mlkdc.train.input.patches import PATCHES_PER_IMAGE as PATCHES
from mlkdc.train.learner import SAMPLES

#: Labels of an image, as in COCO.
POSITIVES = 2.9

Call = Callable[[], Tensor]


def draw_targets(images: int, labels: int) -> Tensor:
    """``uint8[images, labels]``: one label in half of the images, as COCO's person; the others fall as 1 / rank."""
    rank = torch.arange(1, labels, dtype=torch.float32) + 3
    chances = torch.cat([torch.tensor([0.5]), (POSITIVES - 0.5) / rank / (1 / rank).sum()]).clamp(max=1)
    drawn = torch.rand(images, labels, generator=torch.Generator().manual_seed(0)) < chances
    drawn[~drawn.any(1), 0] = True
    return drawn.to(torch.uint8)


class _Random:
    """Draws outputs of one size, one after another."""

    def __init__(self, sizes: Sizes, positives: int) -> None:
        self.sizes = sizes
        self.positives = positives
        self.generator = torch.Generator().manual_seed(1)

    def tensor(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator)

    def complete(self, pooled: int, shapes: Sequence[MapShape]) -> Outputs:
        """All that a model gives of full images."""
        sizes = self.sizes
        stages = tuple(self.tensor(sizes.images, *shape) for shape in shapes)
        embeddings = self.tensor(self.positives, sizes.dim)
        logits = self.tensor(sizes.images, sizes.labels)
        return Outputs(logits, embeddings, self.tensor(sizes.images, pooled), stages=stages)

    def logits(self, *between: int) -> Outputs:
        return Outputs(self.tensor(self.sizes.images, *between, self.sizes.labels))


def draw_batch(sizes: Sizes) -> Batch:
    """Random outputs from every source; those of ``student`` and ``twin`` carry gradient."""
    targets = draw_targets(sizes.images, sizes.labels)
    random = _Random(sizes, int(targets.sum()))
    student = random.complete(sizes.pooled[0], sizes.stages[0])
    batch = Batch(
        targets,
        student=replace(student, regions=random.tensor(sizes.images, PATCHES, sizes.labels)),
        teacher=random.complete(sizes.pooled[1], sizes.stages[1]),
        twin=replace(random.logits(), pooled=random.tensor(sizes.images, sizes.pooled[0])),
        previous=random.logits(),
        patches=random.logits(PATCHES),
        samples=random.logits(SAMPLES),
        last_epoch=random.logits(),
        last_batch=random.logits(),
        progress=0.6,
    )
    return with_gradient(batch)


def with_gradient(batch: Batch) -> Batch:
    """The same values as leaves."""

    def as_leaves(source: str, outputs: Outputs) -> Outputs:
        return outputs.detach().map(lambda tensor: tensor.requires_grad_(source in LEARNED))

    return batch.map(as_leaves)


def only(batch: Batch, needs: frozenset[str]) -> Batch:
    """What a run with these needs would have, and nothing else."""
    names_by_source = {"student": {"logits"}}
    for need in needs:
        source, name = need.split(".")
        names_by_source.setdefault(source, set()).add(name)
    kept: dict[str, Outputs] = {}
    for source, outputs in batch.outputs().items():
        if source in names_by_source:
            kept[source] = _with_fields(outputs, names_by_source[source])
    return Batch.of(batch.targets, kept, batch.progress)


def _with_fields(outputs: Outputs, names: set[str]) -> Outputs:
    removed: dict[str, Any] = {}
    for item in fields(outputs):
        if item.name not in names:
            removed[item.name] = None
    return replace(outputs, **removed)


def leaves(batch: Batch, objective: Objective | None = None) -> list[Tensor]:
    """Every tensor that gets a gradient: outputs of the student, and the terms' layers."""
    tensors: list[Tensor] = []
    for outputs in batch.outputs().values():
        for value in outputs.present().values():
            if isinstance(value, Tensor):
                value = (value,)
            tensors += filter(_has_gradient, value)
    if objective is None:
        return tensors
    for term in objective.terms.values():
        if term.layers is not None:
            tensors += term.layers.parameters()
    return tensors


def _has_gradient(tensor: Tensor) -> bool:
    return tensor.requires_grad


def equal_weights(*names: str) -> Objective:
    """These terms in their default form, each with weight 1."""
    return Objective({name: TERMS.get(name)() for name in names}, dict.fromkeys(names, 1.0))


def complete_pass(objective: Objective, batch: Batch) -> Call:
    """Forward and backward pass of an objective, ready to be timed; returns the loss."""
    batch = only(batch, objective.needs)
    objective.build(batch.map(lambda _, outputs: outputs.detach()))
    inputs = leaves(batch, objective)

    def call() -> Tensor:
        loss = torch.stack(list(objective(batch).values())).sum()
        torch.autograd.grad(loss, inputs, allow_unused=True)
        return loss.detach()

    return call


def milliseconds(call: Call, seconds: float = 0.1, most: int = 20) -> float:
    """Processor time, median over as many calls as fit into ``seconds``, at least one and at most ``most``."""
    taken: list[float] = []
    while not taken or (sum(taken) < seconds and len(taken) < most):
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return 1e3 * float(np.median(taken))


def in_turns(calls: Mapping[str, Call], passes: int) -> dict[str, list[float]]:
    """Milliseconds by name and pass. Each pass runs all once, in a random order, after one run to warm up."""
    for call in calls.values():
        call()
    random = np.random.default_rng(0)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(passes):
        for name in random.permutation(list(calls)).tolist():
            taken[name].append(milliseconds(calls[name]))
    return taken


def spread(values: Sequence[float]) -> Spread:
    """Median and the 10th and 90th percentile."""
    low, middle, high = np.percentile(values, [10, 50, 90])
    return Spread(median=float(middle), p10=float(low), p90=float(high), passes=len(values))


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Of two rows, pass by pass."""
    return spread([upper / lower for upper, lower in zip(above, below, strict=True)])


def memory(call: Call) -> tuple[int, int]:
    """Bytes held at the peak above what was there before, and the largest single allocation, of torch's allocator."""
    call()  # the first call allocates what later ones reuse
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events = []
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            events.append(event)
    # Freed bytes are negative: the running sum is what is held.
    events.sort(key=lambda event: event.start_ns())
    changes = np.array([event.nbytes() for event in events])
    return int(changes.cumsum().max()), int(changes.max())
