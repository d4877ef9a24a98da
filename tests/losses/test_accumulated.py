"""Batches that make a step together (`train.accumulate`) have the loss of one large batch."""

from dataclasses import replace
from itertools import combinations

import pytest
import torch
from batches import exact, make_batch, make_term, random_targets

from mlkdc.losses import TERMS, Objective

IMAGES = 8
# What looks at one image after the other, so that the parts of a batch are all of it.
IMAGE_BY_IMAGE = ["bce", "asl", "focal", "mse", "mld", "id", "id2", "lsd", "mbd", "ssd", "tfkd", "zlpr"]
FORMS = [(name, form) for name in IMAGE_BY_IMAGE for form in TERMS.get(name).forms]


def batch_without_means():
    """Regions and patches of whole numbers with a mean of 0 in every image: LSD compares nothing between images."""
    batch = exact(make_batch(random_targets(IMAGES, 5)))
    regions, patches = batch.student.regions.detach(), batch.patches.logits.detach()
    sides = [torch.cat([10 * side, -10 * side], dim=1).round().requires_grad_() for side in (regions, patches)]
    student = replace(batch.student, regions=sides[0])
    return replace(batch, student=student, patches=replace(batch.patches, logits=sides[1]))


def part_of(batch, images):
    """The batch of some of its images."""
    rows, pairs = torch.tensor(images), torch.zeros(batch.targets.shape, dtype=torch.bool)
    pairs[rows] = True
    kept = pairs[batch.targets > 0]

    def cut(_, outputs):
        rest = replace(outputs, embeddings=None).map(lambda value: value[rows])
        return rest if outputs.embeddings is None else replace(rest, embeddings=outputs.embeddings[kept])

    return replace(batch.map(cut), targets=batch.targets[rows])


def accumulated(name, form, batch, parts):
    """What the parts, lists of images, add up to in one step."""
    objective = Objective({name: make_term(name, form)}, {name: 1.0})
    return sum(objective.shares(objective(part_of(batch, part)), len(parts))[name] for part in parts)


@pytest.mark.parametrize(("name", "form"), FORMS)
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_parts_of_a_batch_add_up_to_it(name, form, parts):
    batch, size = batch_without_means(), IMAGES // parts
    rows = [list(range(first, first + size)) for first in range(0, IMAGES, size)]
    whole = make_term(name, form).compute(batch.prepared())
    assert whole.abs() > 1e-3
    torch.testing.assert_close(accumulated(name, form, batch, rows), whole, rtol=1e-5, atol=0)


def test_pairs_within_the_parts_stand_for_all_pairs():
    """Of all ways to divide a batch, a pair is within a half in 3 of 7: both halves together count it 6/7 times."""
    batch = exact(make_batch(random_targets(IMAGES, 5)))
    values = []
    for half in combinations(range(IMAGES), IMAGES // 2):
        other = sorted(set(range(IMAGES)) - set(half))
        values.append(accumulated("cd", "paper", batch, [list(half), other]).detach())
    whole = make_term("cd", "paper").compute(batch.prepared()).detach()
    torch.testing.assert_close(torch.stack(values).mean(), whole * 6 / 7)
