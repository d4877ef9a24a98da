"""Small seeded batches for the tests of loss terms."""

from dataclasses import replace

import torch

from mlkdc.distill import TERMS, Batch, Objective, Outputs


def make_batch(targets, dtype=torch.float32, dim=5, seed=0, scale=1.5):
    """Random outputs of both models, all with gradient (the teacher's too, to see that none arrives)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        values = scale * torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.to(dtype).requires_grad_()

    positives = int(targets.sum())
    outputs = [Outputs(draw(*targets.shape), draw(positives, dim)) for _ in ("student", "teacher")]
    return Batch(targets, *outputs)


def random_targets(images=6, labels=5, density=0.5, seed=0):
    return (torch.rand(images, labels, generator=torch.Generator().manual_seed(seed)) < density).to(torch.uint8)


def alone(name, form="reference"):
    """One term by itself with weight 1, as a function of a batch."""
    objective = Objective({name: TERMS.get(name)(form)}, {name: 1.0})
    return lambda batch: objective(batch)[name]


def same_outputs(batch):
    """The batch with the student's outputs equal to the teacher's."""
    copy = {key: value.detach().clone().requires_grad_() for key, value in tensors(batch.teacher).items()}
    return replace(batch, student=Outputs(**copy))


def tensors(outputs):
    return {key: value for key, value in vars(outputs).items() if value is not None}


def gradients(outputs):
    """By field; zeros where none arrived."""
    found = tensors(outputs).items()
    return {key: torch.zeros_like(value) if value.grad is None else value.grad for key, value in found}
