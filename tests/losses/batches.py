"""Small seeded batches for the tests of loss terms."""

from dataclasses import replace

import torch

from mlkdc.losses import TERMS, Batch, Objective, Outputs
from mlkdc.losses.batch import LEARNED, SOURCE_FIELDS

PATCHES = 3


def make_batch(targets, dtype=torch.float32, dim=5, seed=0, scale=1.5):
    """Random outputs from every source, all with gradient (the teacher's too, to see that none arrives)."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = targets.shape

    def draw(*shape):
        values = scale * torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.to(dtype).requires_grad_()

    def full(channels):
        stages = tuple(draw(images, channels + i, side, side) for i, side in enumerate((8, 4, 2)))
        return {"embeddings": draw(int(targets.sum()), dim), "pooled": draw(images, channels), "stages": stages}

    def seen_before(every):
        logits = draw(images, labels)
        with torch.no_grad():
            logits[::every] = torch.nan
        return Outputs(logits)

    return Batch(
        targets,
        student=Outputs(draw(images, labels), **full(4), regions=draw(images, PATCHES, labels)),
        teacher=Outputs(draw(images, labels), **full(6)),
        twin=Outputs(draw(images, labels), pooled=draw(images, 4)),
        previous=Outputs(draw(images, labels)),
        patches=Outputs(draw(images, PATCHES, labels)),
        samples=Outputs(draw(images, PATCHES + 1, labels)),
        last_epoch=seen_before(3),
        last_batch=seen_before(2),
        progress=0.6,
    )


def random_targets(images=6, labels=5, density=0.5, seed=0):
    return (torch.rand(images, labels, generator=torch.Generator().manual_seed(seed)) < density).to(torch.uint8)


def make_term(name, form="reference", batch=None, **options):
    """A term, its trainable layers built for the batch from a fixed seed."""
    term = TERMS.get(name)(form, **options)
    if batch is not None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            term.build(batch.map(lambda _, outputs: outputs.detach().full_precision()))
    if term.layers is not None and batch is not None and batch.student.logits.dtype == torch.float64:
        term.layers.double()
    return term


def alone(name, form="reference", **options):
    """One term by itself with weight 1, as a function of a batch."""

    def value(batch):
        term = make_term(name, form, batch, **options)
        return Objective({name: term}, {name: 1.0})(batch)[name]

    return value


def fields(batch, sources=LEARNED):
    """Every tensor of some sources by (source, field, number of the stage)."""
    tensors = {}
    for source, outputs in batch.outputs().items():
        if source in sources:
            for name, value in outputs.present().items():
                parts = value if isinstance(value, tuple) else (value,)
                tensors |= {(source, name, number): part for number, part in enumerate(parts)}
    return tensors


def with_fields(batch, tensors):
    """The batch with other tensors in those places."""
    changes = {}
    for source in {place[0] for place in tensors}:
        outputs = getattr(batch, source)
        of_source = {place: value for place, value in tensors.items() if place[0] == source}
        names = {}
        for (_, name, _), value in sorted(of_source.items(), key=lambda item: item[0]):
            names.setdefault(name, []).append(value)
        changed = {name: tuple(values) if name == "stages" else values[0] for name, values in names.items()}
        changes[source] = replace(outputs, **changed)
    return replace(batch, **changes)


def exact(batch):
    """The same values in float64, all of them leaves."""
    return batch.map(lambda _, outputs: outputs.map(lambda value: value.detach().double().requires_grad_()))


def needed(name):
    """The (source, field) pairs of what carries gradient that a term may send gradient to."""
    pairs = {tuple(need.split(".")) for need in TERMS.get(name).needs}
    return {pair for pair in pairs if pair[0] in LEARNED} | {("student", "logits")}


def gradients(batch, sources=SOURCE_FIELDS):
    """By place; zeros where none arrived."""
    arrived = {}
    for place, value in fields(batch, sources).items():
        arrived[place] = torch.zeros_like(value) if value.grad is None else value.grad
    return arrived


def same_outputs(batch):
    """The batch with the student's outputs equal to the teacher's."""
    copy = batch.teacher.map(lambda value: value.detach().clone().requires_grad_())
    return replace(batch, student=replace(copy, regions=batch.student.regions))
