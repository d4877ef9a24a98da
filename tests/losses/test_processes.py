"""A batch split over two processes gives the value and the gradient of the full batch."""

import pytest
import torch
from batches import LEARNED, fields, make_batch, make_term, random_targets, with_fields
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from two_processes import PROCESSES, answers_of

from mlkdc.losses import TERMS, Objective

pytestmark = pytest.mark.slow

TARGETS = random_targets(8, 6, density=0.35, seed=2)
# Its layers normalize over the images of one process.
LOCAL = {"reviewkd"}


class Scales(nn.Module):
    """A model of one factor for every tensor that some gradient reaches, to see what arrives at parameters."""

    def __init__(self, places):
        super().__init__()
        self.places = sorted(places)
        self.factors = nn.ParameterDict({"-".join(place): torch.ones((), dtype=torch.float64) for place in places})

    def forward(self, batch):
        reached = {place: value for place, value in fields(batch, LEARNED).items() if place[:2] in self.places}
        scaled = {place: self.factors["-".join(place[:2])] * value for place, value in reached.items()}
        return with_fields(batch, scaled)


def _rows(batch, rows):
    """The part of the batch that one process sees."""
    before, inside = int(batch.targets[: rows.start].sum()), int(batch.targets[rows].sum())

    def cut(_, outputs):
        parts = {}
        for name, value in outputs.present().items():
            if name == "embeddings":
                parts[name] = value[before : before + inside]
            else:
                parts[name] = tuple(stage[rows] for stage in value) if isinstance(value, tuple) else value[rows]
        return type(outputs)(**parts)

    outputs = {name: cut(name, value) for name, value in batch.outputs().items()}
    return type(batch)(batch.targets[rows], **outputs, progress=batch.progress)


def reached_by(name):
    """The (source, field) pairs to which the term sends gradient."""
    batch = make_batch(TARGETS, dtype=torch.float64)
    Objective({name: make_term(name, batch=batch)}, {name: 1.0})(batch)[name].backward()
    return {place[:2] for place, value in fields(batch, LEARNED).items() if value.grad is not None}


def _learn(name, batch, wrap):
    """Value and the gradient of every factor."""
    model = Scales(reached_by(name))
    wrapped = wrap(model)
    value = sum(Objective({name: make_term(name, batch=batch)}, {name: 1.0})(wrapped(batch)).values())
    value.backward()
    return value.item(), {key: factor.grad for key, factor in model.factors.items()}


def _process(rank, queue):
    full = make_batch(TARGETS, dtype=torch.float64)
    images = len(TARGETS) // PROCESSES
    mine = _rows(full, slice(rank * images, (rank + 1) * images))
    for name in TERMS.names():
        if name not in LOCAL:
            value, gradients = _learn(name, mine, DistributedDataParallel)
            queue.put((rank, name, value, {key: gradient.item() for key, gradient in gradients.items()}))


def test_every_term_is_unchanged_by_the_split_over_processes():
    full = make_batch(TARGETS, dtype=torch.float64)
    names = [name for name in TERMS.names() if name not in LOCAL]
    with answers_of(_process) as queue:
        for _ in range(PROCESSES * len(names)):
            rank, name, value, actual = queue.get()
            expected, gradients = _learn(name, full, lambda model: model)
            assert abs(value - expected) <= 1e-5 * abs(expected) + 1e-12, (rank, name)
            for key, gradient in gradients.items():
                assert abs(actual[key] - gradient) <= 1e-5 * abs(gradient) + 1e-12, (rank, name, key)
