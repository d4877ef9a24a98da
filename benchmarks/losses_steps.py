"""Whole training steps of every method by the real trainer, with the teacher's forward pass and without it."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from losses_tools import (
    Call,
    Shape,
    Sizes,
    draw_batch,
    equal_weights,
    memory,
    milliseconds,
    ratios,
    spread,
    whole_pass,
    with_gradient,
)
from torch import Tensor

from mlkdc.losses import Outputs, make_objective
from mlkdc.methods import method_names
from mlkdc.models import MultiLabelModel, build_model
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.train.allocator import keep_memory
from mlkdc.train.loop import Trainer
from mlkdc.train.plan import checked_data
from mlkdc.train.sources import Drawn, Source, SourceContext, Step, TeacherSource
from mlkdc.types import TaggedImages

SIZE, BATCH = 128, 32
STUDENT, TEACHER = "mobilenetv2", "tf_efficientnet_lite2"
ARITHMETIC = ("lsd", "rsd", "ssd")
"""The terms of ``mskd`` beyond the cross-entropy."""


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


def stage_shapes() -> tuple[list[Shape], list[Shape]]:
    """Of the feature maps of student and teacher, without the batch."""
    spec = recipe_for("vanilla")
    assert spec.teacher is not None
    shapes = []
    for model in (build_model(spec.student, 2, SIZE), build_model(spec.teacher, 2, SIZE)):
        with torch.no_grad():
            shapes.append([tuple(x.shape[1:]) for x in model.eval().backbone.stages(torch.zeros(1, 3, SIZE, SIZE))])
    return shapes[0], shapes[1]


class Wrapper(Source):
    """Stands in the trainer's place of a source that is there already."""

    @classmethod
    def make(cls, context: SourceContext) -> "Wrapper":
        raise NotImplementedError


class Clocked(Wrapper):
    """A source that notes how long its outputs take."""

    def __init__(self, source: Source) -> None:
        self.source, self.seconds = source, 0.0

    def start(self, epoch: int) -> None:
        self.source.start(epoch)

    def outputs(self, step: Step) -> Outputs:
        began = time.process_time()
        found = self.source.outputs(step)
        self.seconds = time.process_time() - began
        return found

    def join(self, drawn: Drawn) -> Drawn:
        return self.source.join(drawn)

    def learned(self, step: Step, student: Outputs) -> None:
        self.source.learned(step, student)

    def finish(self, epoch: int) -> None:
        self.source.finish(epoch)


class Replay(Wrapper):
    """Gives what a source gave for the same images before, as the teacher's cache does."""

    def __init__(self, source: Source) -> None:
        self.source, self.kept = source, dict[tuple[int, ...], Outputs]()

    def outputs(self, step: Step) -> Outputs:
        images = tuple(step.index.tolist())
        if images not in self.kept:
            self.kept[images] = self.source.outputs(step)
        return self.kept[images]


class Steps:
    """One method's trainer, always ready for its next step.

    Args:
        method: its name.
        data: checked data.
        teacher: untrained; given to the trainer if the method wants one.
    """

    def __init__(self, method: str, data: TaggedImages, teacher: MultiLabelModel) -> None:
        recipe, objective = recipe_for(method), make_objective(recipe_for(method).distill)
        torch.manual_seed(0)
        student = build_model(recipe.student, len(data.classes), SIZE)
        source = TeacherSource(teacher, SIZE) if objective.needs_teacher else None
        self.trainer = Trainer(Path(), recipe, student, data, objective, source, Progress())  # writes no file
        for name, one in self.trainer.sources.items():
            self.trainer.sources[name] = Clocked(one)
        self.batches: list[tuple[Tensor, Tensor]] = list(self.trainer.loader)
        self.taken = 0
        self.trainer._start(0)
        self.teacher = Replay(self.trainer.sources["teacher"]) if source else None

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

    def arithmetic(self, names: Iterable[str]) -> Call:
        """Forward and backward pass of some terms alone on a batch of this training."""
        batch = self.trainer._batch(self.trainer._look(*self.batches[0]))
        return whole_pass(equal_weights(*names), with_gradient(batch))


class Clock:
    """Milliseconds by row, in the order of passes."""

    def __init__(self) -> None:
        self.rows: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        """One pass's."""
        self.rows.setdefault(name, []).append(value)

    def against(self, name: str, other: str) -> dict[str, float]:
        """Ratios pass by pass."""
        return ratios(self.rows[name], self.rows[other])


def _one_pass(trainers: dict[str, Steps], extra: dict[str, Call], order: list[str], clock: Clock) -> None:
    for name in order:
        if name in extra:
            clock.add(name, milliseconds(extra[name]))
            continue
        steps = trainers[name]
        clock.add(name, steps.step())
        for source, one in steps.trainer.sources.items():
            if isinstance(one, Clocked):
                clock.add(f"{name}: {source}", 1e3 * one.seconds)
        if steps.teacher:
            with steps.without_teacher():
                clock.add(f"{name} without teacher", steps.step())


def _row(name: str, steps: Steps, clock: Clock, plain: int) -> dict[str, Any]:
    """``plain``: steps in an epoch of vanilla."""
    cached = f"{name} without teacher"
    prefix = f"{name}: "
    return {
        "name": name,
        "ms": spread(clock.rows[name]),
        "ratio": clock.against(name, "vanilla"),
        "ratio_without_teacher": clock.against(cached, "vanilla") if cached in clock.rows else None,
        "steps_in_an_epoch": len(steps.batches) / plain,
        "cacheable": "stages" not in steps.trainer.objective.fields("teacher"),
        "sources": sorted(steps.trainer.objective.sources),
        "source_share": {
            key.removeprefix(prefix): clock.against(key, name) for key in clock.rows if key.startswith(prefix)
        },
    }


def every_method(passes: int) -> dict[str, Any]:
    """One row for each registered method, and the shares of what ``mskd``'s step is made of."""
    keep_memory()
    spec = recipe_for("vanilla")
    data, _ = checked_data(spec, Progress())
    assert spec.teacher is not None
    torch.manual_seed(0)
    teacher = build_model(spec.teacher, len(data.classes), SIZE)
    trainers = {name: Steps(name, data, teacher) for name in method_names()}
    wide = Sizes(images=BATCH)
    extra = {
        "arithmetic": trainers["mskd"].arithmetic(ARITHMETIC),
        "arithmetic, 80 labels": whole_pass(equal_weights(*ARITHMETIC), draw_batch(wide)),
    }
    for steps in trainers.values():
        for _ in steps.batches:  # to warm up, and so that all of the teacher's outputs are known
            steps.step()
        if steps.teacher:
            with steps.without_teacher():
                for _ in steps.batches:
                    steps.step()
    random, clock = np.random.default_rng(0), Clock()
    for _ in range(passes):
        _one_pass(trainers, extra, random.permutation([*trainers, *extra]).tolist(), clock)
    plain = len(trainers["vanilla"].batches)
    return {
        "rows": [_row(name, steps, clock, plain) for name, steps in trainers.items()],
        "data": {"labels": len(data.classes), "image_size": SIZE, "batch_size": BATCH},
        "student": STUDENT,
        "teacher": TEACHER,
        "mskd": {
            "arithmetic_ms": {name: spread(clock.rows[name]) for name in extra},
            "arithmetic_share": {name: clock.against(name, "mskd") for name in extra},
            "vanilla_share": clock.against("vanilla", "mskd"),
            "peak_bytes": memory(extra["arithmetic, 80 labels"])[0],
        },
    }
