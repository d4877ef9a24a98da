"""What is special to MSE, RKD, PKT and ReviewKD; test_terms.py has the rest."""

from dataclasses import replace

import pytest
import torch
from batches import alone, exact, gradients, make_batch, make_term, random_targets
from oracles import ORACLES

from mlkdc.losses import Batch, Objective, Outputs, make_objective
from mlkdc.losses.batch import LEARNED
from mlkdc.methods import load_method
from mlkdc.recipe import Distill

POOLED = ["rkd_d", "rkd_a", "pkt"]


def _pooled_batch(student, teacher):
    targets = torch.ones(len(student), 2)
    logits = torch.zeros(len(student), 2)
    return Batch(targets, Outputs(logits, pooled=student.requires_grad_()), Outputs(logits, pooled=teacher))


def _staged_batch(student, teacher, images=3, seed=0):
    """Stages of these (channels, height, width)."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shapes):
        return tuple(torch.randn(images, *shape, generator=generator).requires_grad_() for shape in shapes)

    logits = torch.zeros(images, 2)
    return Batch(torch.ones(images, 2), Outputs(logits, stages=draw(student)), Outputs(logits, stages=draw(teacher)))


def _equals_its_oracle(name, batch, **options):
    slow = exact(batch)
    term = make_term(name, batch=slow, **options)
    expected = ORACLES[name](slow, "reference", term)
    expected.backward()
    value = alone(name, **options)(batch)
    value.backward()
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-12)
    expected_gradients = gradients(slow, LEARNED)
    for place, gradient in gradients(batch, LEARNED).items():
        largest = expected_gradients[place].abs().max().clamp(min=1e-9)
        torch.testing.assert_close(gradient.double() / largest, expected_gradients[place] / largest, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "coarsest", "width"), [({}, 200, 128), ({}, 90, 90), ({"channels": 256}, 512, 256)]
)
def test_reviewkd_fuses_maps_of_128_channels_at_most_unless_a_recipe_says_more(options, coarsest, width):
    batch = _staged_batch(((8, 4, 4), (coarsest, 2, 2)), ((10, 4, 4), (30, 2, 2)))
    layers = make_term("reviewkd", batch=batch, **options).layers
    assert [layer.narrow[0].out_channels for layer in layers] == [width, width]
    assert [layer.output[0].out_channels for layer in layers] == [30, 10]


@pytest.mark.parametrize(
    ("method", "weights", "form", "needs"),
    [
        ("mse", {"bce": 1, "mse": 1}, "reference", {"teacher.logits"}),
        ("rkd", {"bce": 1, "rkd_d": 25, "rkd_a": 50}, "paper", {"student.pooled", "teacher.pooled"}),
        ("pkt", {"bce": 1, "pkt": 30000}, "paper", {"student.pooled", "teacher.pooled"}),
        ("reviewkd", {"bce": 1, "reviewkd": 1}, "paper", {"student.stages", "teacher.stages"}),
        (
            "hint",
            {"bce": 1, "mld": 2, "hint": 40},
            "paper",
            {"teacher.logits", "student.pooled", "teacher.pooled"},
        ),
    ],
)
def test_methods_have_the_published_weights_next_to_the_bce_they_belong_to(method, weights, form, needs):
    objective = make_objective(Distill(method=method))
    assert objective.weights == weights
    assert objective.needs == needs
    assert objective.terms["bce"].form == load_method(method).form == form
    assert {name for name, term in objective.terms.items() if term.relational} == set(weights) & set(POOLED)


def test_squared_error_is_to_the_bce_as_in_the_other_form():
    batch = make_batch(random_targets())
    reference, paper = (make_objective(Distill(method="mse", form=form))(batch) for form in ("reference", "paper"))
    expected = batch.targets.numel() * torch.nn.functional.mse_loss(batch.student.logits, batch.teacher.logits)
    torch.testing.assert_close(reference["mse"], expected)
    torch.testing.assert_close(reference["mse"] / reference["bce"], paper["mse"] / paper["bce"])


def _rotation(dim):
    return torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(5), dtype=torch.float64))[0]


@pytest.mark.parametrize("name", POOLED)
def test_relations_do_not_see_a_rotation_into_another_number_of_channels(name):
    teacher = torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    student = teacher @ _rotation(9)[:5]
    assert alone(name)(_pooled_batch(student.clone(), teacher)) < 1e-12
    assert alone(name)(_pooled_batch(student.square(), teacher)) > 1e-6


@pytest.mark.parametrize("name", ["rkd_d", "rkd_a"])
def test_rkd_does_not_see_scale_and_shift(name):
    teacher = torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert alone(name)(_pooled_batch(3 * teacher + 8, teacher)) < 1e-12


def test_pkt_sees_directions_alone():
    generator = torch.Generator().manual_seed(1)
    teacher = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    lengths = torch.rand(7, 1, generator=generator, dtype=torch.float64) + 0.1
    assert alone("pkt")(_pooled_batch(lengths * teacher, teacher)) < 1e-12


@pytest.mark.parametrize("name", POOLED)
def test_an_image_that_is_in_the_batch_twice_changes_neither_exactness_nor_finiteness(name):
    student, teacher = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(2)).unbind()
    student[3] = student[0]
    teacher[4] = teacher[1]
    _equals_its_oracle(name, _pooled_batch(student, teacher))


@pytest.mark.parametrize("name", POOLED)
def test_one_image_has_no_relation(name):
    batch = _pooled_batch(torch.full((1, 4), torch.finfo(torch.float32).max ** 0.4), torch.ones(1, 4))
    value = alone(name)(batch)
    value.backward()
    assert value == 0
    assert not batch.student.pooled.grad.any()


def test_pkt_keeps_the_small_probabilities_of_nearly_opposite_features():
    student, teacher = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(2)).unbind()
    student[1] = -2 * student[0] + 1e-2 * student[2]
    _equals_its_oracle("pkt", _pooled_batch(student, teacher))


def test_pkt_of_opposite_and_of_empty_features_is_finite():
    student, teacher = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(2)).unbind()
    student[1] = -student[0]
    student[2] = 0
    teacher[3] = 0
    batch = _pooled_batch(student, teacher)
    value = alone("pkt")(batch)
    value.backward()
    assert value.isfinite()
    assert batch.student.pooled.grad.isfinite().all()
    with torch.no_grad():
        torch.testing.assert_close(value.double(), ORACLES["pkt"](exact(batch), "reference", None), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ([(3, 8, 8), (4, 4, 4), (5, 2, 2)], [(6, 14, 14), (4, 7, 7), (3, 3, 3)]),  # the teacher sees larger images
        ([(3, 9, 9), (4, 5, 5), (5, 3, 3)], [(6, 4, 4), (4, 2, 2), (3, 1, 1)]),  # or smaller ones
        ([(3, 6, 4), (4, 3, 2)], [(2, 6, 4), (2, 3, 2)]),  # not square
        ([(3, 8, 8), (4, 4, 4), (5, 2, 2)], [(6, 4, 4)]),  # a transformer has one stage
        ([(3, 4, 4)], [(6, 8, 8), (5, 4, 4), (4, 2, 2)]),
    ],
)
def test_reviewkd_pairs_and_resizes_stages_of_other_shapes(student, teacher):
    batch = _staged_batch(student, teacher)
    _equals_its_oracle("reviewkd", batch)
    unused = max(0, len(student) - len(teacher))
    assert [stage.grad is None for stage in batch.student.stages] == [at < unused for at in range(len(student))]


def test_reviewkd_layers_are_no_wider_than_the_option_or_than_the_students_coarsest_stage():
    batch = _staged_batch([(3, 4, 4), (6, 2, 2)], [(5, 4, 4), (7, 2, 2)])
    for channels, width in ((128, 6), (4, 4), (4.0, 4)):
        layers = make_term("reviewkd", batch=batch, channels=channels).layers
        assert [layer.output[0].weight.shape[:2] for layer in layers] == [(7, width), (5, width)]
        assert [layer.attention is None for layer in layers] == [True, False]
    _equals_its_oracle("reviewkd", batch, channels=2)


def test_reviewkd_takes_a_single_image_whose_coarsest_map_is_one_position():
    batch = _staged_batch([(3, 2, 2), (4, 1, 1)], [(5, 2, 2), (6, 1, 1)], images=1)
    value = alone("reviewkd")(batch)
    value.backward()
    assert value.isfinite()
    for stage in batch.student.stages:
        assert stage.grad.isfinite().all()
        assert stage.grad.any()


def test_reviewkd_layers_learn():
    batch = _staged_batch([(3, 8, 8), (4, 4, 4), (5, 2, 2)], [(6, 8, 8), (4, 4, 4), (3, 2, 2)])
    objective = Objective({"reviewkd": make_term("reviewkd")}, {"reviewkd": 1.0})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = objective.build(batch)
    optimizer = torch.optim.Adam(layers.parameters(), 1e-2)
    values = []
    for _ in range(40):
        optimizer.zero_grad()
        value = objective(batch)["reviewkd"]
        value.backward()
        assert all(parameter.grad.isfinite().all() for parameter in layers.parameters())
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.7 * values[0]


def test_reviewkd_is_a_mean_over_images():
    batch = _staged_batch([(3, 4, 4), (4, 2, 2)], [(5, 4, 4), (6, 2, 2)])

    def twice(_, outputs):
        return outputs.map(lambda value: value.repeat(2, *[1] * (value.ndim - 1)))

    doubled = replace(batch.map(twice), targets=batch.targets.repeat(2, 1))
    torch.testing.assert_close(alone("reviewkd")(doubled), alone("reviewkd")(batch))
