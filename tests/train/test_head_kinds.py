"""Training with heads of different kinds, and from different first biases."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mlkdc.errors import RecipeError, UsageError
from mlkdc.progress import Progress
from mlkdc.recipe import Head, Recipe
from mlkdc.train import distill
from mlkdc.train.checks import check_objective
from mlkdc.train.job import build_initial
from mlkdc.train.plan import make_plan

pytestmark = pytest.mark.slow

Tiny = Callable[..., Recipe]


@pytest.mark.parametrize(("teacher_kind", "student_kind"), [("compact", "attention"), ("attention", "compact")])
def test_teacher_and_student_may_differ_in_their_heads(
    tiny: Tiny, tmp_path: Path, teacher_kind: str, student_kind: str
) -> None:
    spec = tiny()
    assert spec.teacher is not None
    heads = {"compact": spec.student.head, "attention": Head(kind="attention")}
    student = spec.student.model_dump() | {"head": heads[student_kind].model_dump()}
    teacher = spec.teacher.model_dump() | {"head": heads[teacher_kind].model_dump()}
    # At 32 px MobileNetV2's map has one position.
    data = spec.data.model_dump() | {"image_size": 64}
    run = distill(tiny(student=student, teacher=teacher, data=data), out=tmp_path / "run")
    assert run.results.model.head == student_kind
    for epoch in run.epochs:
        assert epoch.terms["cd"] > 0
        assert epoch.terms["id"] > 0


def test_attention_over_one_position_is_refused_where_its_embeddings_are_compared(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny()
    recipe.student.head = Head(kind="attention")
    with pytest.raises(UsageError, match=r"a feature map of 1 x 1, as the student's images of 32 px have"):
        distill(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    recipe = tiny(distill={"method": "mld"})
    recipe.student.head = Head(kind="attention")
    assert distill(recipe, out=tmp_path / "run").finished


def test_a_teacher_whose_embeddings_are_all_the_same_is_refused_before_it_is_trained(
    tiny: Tiny, tmp_path: Path
) -> None:
    recipe = tiny()
    assert recipe.teacher is not None
    recipe.teacher.head = Head(kind="attention", residual=0)
    with pytest.raises(UsageError, match=r"all the same with teacher\.head\.residual=0; use a larger one"):
        distill(recipe, out=tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    recipe.teacher.head = Head(kind="attention")
    recipe.teacher.image_size = 32
    with pytest.raises(UsageError, match=r"a feature map of 1 x 1, as the teacher's images of 32 px have"):
        distill(recipe, out=tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_trained_teacher_whose_embeddings_are_all_the_same_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny(distill={"method": "vanilla"}, teacher=None)
    recipe.student.head = Head(kind="attention")
    teacher = distill(recipe, out=tmp_path / "teacher")
    with pytest.raises(UsageError, match=r"as the teacher's images of 32 px have"):
        distill(tiny(teacher={"source": str(teacher.path)}), out=tmp_path / "run")


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        ({"kind": "attention", "dim": 100}, r"student\.head\.dim=100 says nothing of kind attention"),
        ({"kind": "linear", "heads": 4}, r"student\.head\.heads=4 says nothing of kind linear; .* or use compact"),
        ({"kind": "compact", "residual": 3}, r"student\.head\.residual=3\.0 says nothing of kind compact"),
    ],
)
def test_what_a_kind_of_head_does_not_have_is_refused(head: dict[str, Any], fault: str, tiny: Tiny) -> None:
    recipe = tiny()
    recipe.student.head = Head(**head)
    with pytest.raises(RecipeError, match=fault):
        check_objective(recipe)


@pytest.mark.parametrize("kind", ["attention", "compact", "linear"])
def test_the_first_bias_can_be_the_log_odds_of_each_label(tiny: Tiny, kind: str) -> None:
    recipe = tiny(distill={"method": "vanilla"})
    recipe.student.head = Head(kind=kind, bias="prior")
    recipe.data.train_splits = ["train", "val"]
    plan = make_plan(recipe, Progress())
    samples = plan.data.split("train") + plan.data.split("val")
    initial = build_initial(recipe.student, plan)
    for label in range(len(plan.data.classes)):
        having = sum(label in sample.labels for sample in samples)
        probability = (having + 1) / (len(samples) + 2)
        assert initial.model.head.bias[label].sigmoid().item() == pytest.approx(probability)
    recipe.student.head.bias = "zero"
    plain = build_initial(recipe.student, plan)
    assert torch.equal(plain.random_state, initial.random_state)
    plain.model.head.bias.data.copy_(initial.model.head.bias.data)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(initial.model.state_dict()[name], value), name
