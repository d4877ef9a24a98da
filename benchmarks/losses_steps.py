"""Complete training steps of every method by the real trainer, with the teacher's forward pass and without it."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from losses_records import MapShape, MskdCost, Sizes, Spread, StepCost, StepsCost
from losses_sources import Clocked, Replay
from losses_tools import (
    Call,
    complete_pass,
    draw_batch,
    equal_weights,
    memory,
    milliseconds,
    ratios,
    spread,
    with_gradient,
)
from torch import Tensor

from mlkdc.losses import make_objective
from mlkdc.methods import method_names
from mlkdc.models import MultiLabelModel, build_model
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.train.allocator import keep_memory
from mlkdc.train.loop import Trainer
from mlkdc.train.plan import checked_data
from mlkdc.train.sources import TeacherSource
from mlkdc.types import TaggedImages

SIZE, BATCH = 128, 32
STUDENT, TEACHER = "mobilenetv2", "tf_efficientnet_lite2"
#: The terms of ``mskd`` beyond the cross-entropy.
ARITHMETIC = ("lsd", "rsd", "ssd")
#: Names of the two rows that time them alone.
THIS_DATA, WIDE = "arithmetic", "arithmetic, 80 labels"


def recipe_for(method: str) -> Recipe:
    """Everything is the recipes' default but the sizes."""
    return Recipe.model_validate(
        {
            "name": method,
            "data": {"path": "digits", "digits_images": 100, "image_size": SIZE},
            "student": {"model": STUDENT, "weights": "none"},
            "teacher": {"model": TEACHER, "weights": "none"},
            "distill": {"method": method},
            "train": {"batch_size": BATCH, "epochs": 80},
        }
    )


def stage_shapes() -> tuple[tuple[MapShape, ...], tuple[MapShape, ...]]:
    """Of the feature maps of student and teacher."""
    spec = recipe_for("vanilla")
    assert spec.teacher is not None
    return _stages_of(build_model(spec.student, 2, SIZE)), _stages_of(build_model(spec.teacher, 2, SIZE))


@torch.no_grad()
def _stages_of(model: MultiLabelModel) -> tuple[MapShape, ...]:
    shapes = []
    for stage in model.eval().backbone.stages(torch.zeros(1, 3, SIZE, SIZE)):
        _, channels, height, width = stage.shape
        shapes.append((channels, height, width))
    return tuple(shapes)


class Steps:
    """One method's trainer, always ready for its next step.

    Args:
        method: its name.
        data: checked data.
        teacher: untrained; given to the trainer if the method needs one.
    """

    def __init__(self, method: str, data: TaggedImages, teacher: MultiLabelModel) -> None:
        recipe = recipe_for(method)
        objective = make_objective(recipe.distill)
        torch.manual_seed(0)
        student = build_model(recipe.student, len(data.classes), SIZE)
        source = None
        if objective.needs_teacher:
            source = TeacherSource(teacher, SIZE)
        self.trainer = Trainer(Path(), recipe, student, data, objective, source, Progress())  # writes no file
        self.clocked = {name: Clocked(source) for name, source in self.trainer.sources.items()}
        # Each source's part of a step is timed within the step.
        self.trainer.sources.update(self.clocked)
        self.batches: list[tuple[Tensor, list[Tensor]]] = list(self.trainer.loader)
        self.taken = 0
        # The trainer offers complete epochs only; here its steps are timed one by one, next to those of others.
        self.trainer._start(0)
        self.teacher = None
        if source is not None:
            self.teacher = Replay(self.clocked["teacher"])

    def step(self) -> float:
        """One step; its milliseconds."""
        number = self.taken % len(self.batches)
        self.taken += 1
        began = time.process_time()
        self.trainer._step(0, number, *self.batches[number])
        return 1e3 * (time.process_time() - began)

    @contextmanager
    def without_teacher(self) -> Iterator[None]:
        """The teacher's outputs are known already."""
        assert self.teacher is not None
        self.trainer.sources["teacher"] = self.teacher
        try:
            yield
        finally:
            self.trainer.sources["teacher"] = self.teacher.source

    def warm_up(self) -> None:
        """Every batch once and, with a teacher, once more, so that all of its outputs are known."""
        passes: list[AbstractContextManager[None]] = [nullcontext()]
        if self.teacher is not None:
            passes.append(self.without_teacher())
        for setting in passes:
            with setting:
                for _ in self.batches:
                    self.step()

    def arithmetic(self, names: Iterable[str]) -> Call:
        """Forward and backward pass of some terms alone on a batch of this training."""
        batch = self.trainer._batch(self.trainer._look(*self.batches[0]))
        return complete_pass(equal_weights(*names), with_gradient(batch))


class Clock:
    """Milliseconds by row, in the order of passes."""

    def __init__(self) -> None:
        self.rows: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        """One pass's."""
        self.rows.setdefault(name, []).append(value)

    def spread(self, name: str) -> Spread:
        """Of one row."""
        return spread(self.rows[name])

    def against(self, name: str, other: str) -> Spread:
        """Ratios pass by pass."""
        return ratios(self.rows[name], self.rows[other])


def _without_teacher(method: str) -> str:
    return f"{method} without teacher"


def _one_pass(trainers: Mapping[str, Steps], extra: Mapping[str, Call], order: Sequence[str], clock: Clock) -> None:
    for name in order:
        if name in extra:
            clock.add(name, milliseconds(extra[name]))
            continue
        steps = trainers[name]
        clock.add(name, steps.step())
        for source, clocked in steps.clocked.items():
            clock.add(f"{name}: {source}", 1e3 * clocked.seconds)
        if steps.teacher is not None:
            with steps.without_teacher():
                clock.add(_without_teacher(name), steps.step())


def _row(name: str, steps: Steps, clock: Clock, vanilla_steps: int) -> StepCost:
    """``vanilla_steps``: steps in an epoch of vanilla."""
    ratio_without_teacher = None
    if steps.teacher is not None:
        ratio_without_teacher = clock.against(_without_teacher(name), "vanilla")
    return StepCost(
        name=name,
        ms=clock.spread(name),
        ratio=clock.against(name, "vanilla"),
        ratio_without_teacher=ratio_without_teacher,
        steps_in_an_epoch=len(steps.batches) / vanilla_steps,
        cacheable="stages" not in steps.trainer.objective.fields("teacher"),
        sources=tuple(sorted(steps.trainer.objective.sources)),
        source_fractions={source: clock.against(f"{name}: {source}", name) for source in steps.clocked},
    )


def every_method(passes: int, methods: Sequence[str] | None = None) -> StepsCost:
    """One row for each method, and what a step of ``mskd`` is made of.

    Args:
        passes: steps of each method.
        methods: with ``vanilla`` and ``mskd``; None = all that are registered.
    """
    # As `mlkdc distill` does: without it much of a step is page faults.
    keep_memory()
    spec = recipe_for("vanilla")
    data, _ = checked_data(spec, Progress())
    assert spec.teacher is not None
    torch.manual_seed(0)
    teacher = build_model(spec.teacher, len(data.classes), SIZE)
    trainers = {name: Steps(name, data, teacher) for name in methods or method_names()}
    extra = {
        THIS_DATA: trainers["mskd"].arithmetic(ARITHMETIC),
        WIDE: complete_pass(equal_weights(*ARITHMETIC), draw_batch(Sizes(images=BATCH))),
    }
    for steps in trainers.values():
        steps.warm_up()
    random, clock = np.random.default_rng(0), Clock()
    for _ in range(passes):
        _one_pass(trainers, extra, random.permutation([*trainers, *extra]).tolist(), clock)
    vanilla_steps = len(trainers["vanilla"].batches)
    return StepsCost(
        rows=tuple(_row(name, steps, clock, vanilla_steps) for name, steps in trainers.items()),
        labels=len(data.classes),
        image_size=SIZE,
        batch_size=BATCH,
        student=STUDENT,
        teacher=TEACHER,
        mskd=_mskd(clock, extra[WIDE]),
    )


def _mskd(clock: Clock, wide: Call) -> MskdCost:
    return MskdCost(
        arithmetic_ms=clock.spread(THIS_DATA),
        arithmetic_80_labels_ms=clock.spread(WIDE),
        arithmetic_fraction=clock.against(THIS_DATA, "mskd"),
        arithmetic_80_labels_fraction=clock.against(WIDE, "mskd"),
        vanilla_fraction=clock.against("vanilla", "mskd"),
        peak_bytes=memory(wide)[0],
    )
