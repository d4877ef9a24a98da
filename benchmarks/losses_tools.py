"""What the measurements of losses share: random outputs of any size, clocks that take turns, and memory."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from mlkdc.losses import TERMS, Batch, Objective, Outputs
from mlkdc.losses.base import LEARNED, SOURCES
from mlkdc.train.input.patches import PATCHES_PER_IMAGE as PATCHES
from mlkdc.train.learner import SAMPLES

POSITIVES = 2.9
"""Labels of an image, as in COCO."""

Call = Callable[[], Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sizes:
    """How large the outputs are; ``pooled`` and ``stages`` of student and teacher."""

    images: int = 64
    labels: int = 80
    dim: int = 768
    pooled: tuple[int, int] = (1280, 1280)
    stages: tuple[list[Shape], list[Shape]] = ([(8, 8, 8), (12, 4, 4)], [(8, 8, 8), (16, 4, 4)])


def draw_targets(images: int, labels: int) -> Tensor:
    """``uint8[images, labels]``: one label in half of the images, as COCO's person; the others fall as 1 / rank."""
    rank = torch.arange(1, labels, dtype=torch.float32) + 3
    chances = torch.cat([torch.tensor([0.5]), (POSITIVES - 0.5) / rank / (1 / rank).sum()]).clamp(max=1)
    drawn = torch.rand(images, labels, generator=torch.Generator().manual_seed(0)) < chances
    drawn[~drawn.any(1), 0] = True
    return drawn.to(torch.uint8)


def draw_batch(sizes: Sizes) -> Batch:
    """Random outputs from every source; those of ``student`` and ``twin`` want gradient."""
    generator = torch.Generator().manual_seed(1)
    images, labels = sizes.images, sizes.labels
    targets = draw_targets(images, labels)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def whole(side: int) -> Outputs:
        stages = tuple(draw(images, *shape) for shape in sizes.stages[side])
        embeddings = draw(int(targets.sum()), sizes.dim)
        return Outputs(draw(images, labels), embeddings, draw(images, sizes.pooled[side]), stages=stages)

    def logits(*between: int) -> Outputs:
        return Outputs(draw(images, *between, labels))

    batch = Batch(
        targets,
        student=replace(whole(0), regions=draw(images, PATCHES, labels)),
        teacher=whole(1),
        twin=Outputs(draw(images, labels), pooled=draw(images, sizes.pooled[0])),
        previous=logits(),
        patches=logits(PATCHES),
        samples=logits(SAMPLES),
        last_epoch=logits(),
        last_batch=logits(),
        progress=0.6,
    )
    return with_gradient(batch)


def with_gradient(batch: Batch) -> Batch:
    """The same values as leaves."""
    return batch.map(lambda source, own: own.detach().map(lambda x: x.requires_grad_(source in LEARNED)))


def only(batch: Batch, needs: frozenset[str]) -> Batch:
    """What a run with these needs would have, and nothing else."""
    asked = {"student": {"logits"}}
    for need in needs:
        source, name = need.split(".")
        asked.setdefault(source, set()).add(name)
    found: dict[str, Any] = dict.fromkeys(set(SOURCES) - asked.keys())
    for source, names in asked.items():
        outputs = getattr(batch, source)
        rest = {item.name: None for item in fields(outputs) if item.name not in names}
        found[source] = replace(outputs, **rest)
    return replace(batch, **found)


def leaves(batch: Batch, objective: Objective | None = None) -> list[Tensor]:
    """Every tensor that gets a gradient: outputs of the student, and the terms' own layers."""
    found: list[Tensor] = []
    for outputs in batch.outputs().values():
        for value in vars(outputs).values():
            parts = value if isinstance(value, tuple) else (value,)
            found += [part for part in parts if part is not None and part.requires_grad]
    for term in objective.terms.values() if objective else ():
        found += [] if term.layers is None else list(term.layers.parameters())
    return found


def equal_weights(*names: str) -> Objective:
    """These terms in their default form, each with weight 1."""
    return Objective({name: TERMS.get(name)() for name in names}, dict.fromkeys(names, 1.0))


def whole_pass(objective: Objective, batch: Batch) -> Call:
    """Forward and backward pass of an objective, ready to be timed; returns the loss."""
    batch = only(batch, objective.needs)
    objective.build(batch.map(lambda _, outputs: outputs.detach()))
    wanted = leaves(batch, objective)

    def call() -> Tensor:
        loss = torch.stack(list(objective(batch).values())).sum()
        torch.autograd.grad(loss, wanted, allow_unused=True)
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
    """Milliseconds by name and pass. Every pass runs all once, in an order of its own, after one run to warm up."""
    for call in calls.values():
        call()
    random = np.random.default_rng(0)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(passes):
        for name in random.permutation(list(calls)).tolist():
            taken[name].append(milliseconds(calls[name]))
    return taken


def spread(values: list[float]) -> dict[str, float]:
    """Median and the 10th and 90th percentile."""
    low, middle, high = np.percentile(values, [10, 50, 90])
    return {"median": float(middle), "p10": float(low), "p90": float(high), "passes": len(values)}


def ratios(above: list[float], below: list[float]) -> dict[str, float]:
    """Of two rows pass by pass."""
    return spread([one / other for one, other in zip(above, below, strict=True)])


def memory(call: Call) -> tuple[int, int]:
    """Bytes held at the peak above what was there before, and the largest single allocation, of torch's allocator."""
    call()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    assert profiler.profiler is not None
    assert profiler.profiler.kineto_results is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = np.array([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(changes.cumsum().max()), int(changes.max())
