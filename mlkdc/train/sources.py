"""Outputs without gradient that terms compare the student with: teacher, crops, and the student's own past."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from mlkdc.losses import Objective, Outputs
from mlkdc.models import MultiLabelModel, prefers_channels_last
from mlkdc.train.input.patches import cut
from mlkdc.train.input.views import resize
from mlkdc.train.learner import batch_statistics_only, outputs_of
from mlkdc.train.teacher_cache import TeacherCache, rounded

LOGITS = frozenset({"logits"})


@dataclass(frozen=True)
class Step:
    """The pictures of one step.

    Args:
        index: ``[b]`` which images of the training set.
        targets: ``[b, q]``.
        views: ``[b, 3, v, v]`` in 0..255, at the largest size that anyone looks at.
        pixels: ``[b, 3, s, s]``, the same at the student's size.
        boxes: ``[b, S, 4]`` of the crops, where a term looks at crops.
    """

    index: Tensor
    targets: Tensor
    views: Tensor
    pixels: Tensor
    boxes: Tensor | None


class Source:
    """Something a term compares the student with. All methods run without gradient."""

    def start(self, epoch: int) -> None:
        """An epoch begins."""

    def outputs(self, step: Step) -> Outputs:
        """For the pictures of a step, before the optimizer's update."""
        raise NotImplementedError

    def learned(self, step: Step, student: Outputs) -> None:
        """Hears the student's outputs, right before the optimizer's update."""

    def finish(self, epoch: int) -> None:
        """An epoch has ended."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state` gave."""


def memory_format(model: nn.Module) -> torch.memory_format:
    """The layout in which a model is trained and asked."""
    return torch.channels_last if prefers_channels_last(model) else torch.contiguous_format


class TeacherSource(Source):
    """A frozen teacher.

    Args:
        model: in any mode; it is put into evaluation.
        image_size: the size at which it looks at the views.
        cache: its outputs of earlier runs, if they are kept.
    """

    def __init__(self, model: MultiLabelModel, image_size: int, cache: TeacherCache | None = None) -> None:
        self.model, self.image_size, self.cache = model, image_size, cache
        self.asked: frozenset[str] = frozenset()
        self.layout = memory_format(model)

    def prepare(self, objective: Objective, device: torch.device) -> None:
        """Learn what is asked for, and move to the device."""
        self.asked = objective.asked("teacher")
        self.model.to(device).to(memory_format=self.layout).eval().requires_grad_(False)

    def start(self, epoch: int) -> None:
        if self.cache:
            self.cache.start(epoch)

    def outputs(self, step: Step) -> Outputs:
        cache = self.cache if "stages" not in self.asked else None  # feature maps are too large to keep
        kept = cache.get(step.targets, self.asked) if cache else None
        if kept is not None:
            return kept
        pixels = resize(step.views, self.image_size).contiguous(memory_format=self.layout)
        found = rounded(outputs_of(self.model, pixels, step.targets, self.asked)[0])
        if cache:
            cache.put(found)
        return found

    def finish(self, epoch: int) -> None:
        if self.cache:
            self.cache.finish(epoch)


class Previous(Source):
    """The student as it was one step ago, on the same pictures (MSKD's Step-SD)."""

    def __init__(self, model: MultiLabelModel) -> None:
        self.model = model
        self.copy = copy.deepcopy(model).requires_grad_(False)

    def outputs(self, step: Step) -> Outputs:
        self.copy.train(self.model.training)
        with batch_statistics_only(self.copy):
            return outputs_of(self.copy, step.pixels, step.targets, LOGITS)[0]

    def learned(self, step: Step, student: Outputs) -> None:
        torch._foreach_copy_(_tensors(self.copy), _tensors(self.model))

    def state(self) -> dict[str, Any]:
        return {"model": self.copy.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.copy.load_state_dict(state["model"])


def _tensors(model: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in model.state_dict().values() if tensor.is_floating_point()]


class Crops(Source):
    """The student's present weights on enlarged crops of each picture (MSKD's patches)."""

    def __init__(self, model: MultiLabelModel, size: int, layout: torch.memory_format) -> None:
        self.model, self.size, self.layout = model, size, layout

    def outputs(self, step: Step) -> Outputs:
        assert step.boxes is not None
        crops = cut(step.views, step.boxes, self.size, self.size).contiguous(memory_format=self.layout)
        with batch_statistics_only(self.model):
            found, _ = outputs_of(self.model, crops, step.targets, LOGITS)
        return Outputs(found.logits.unflatten(0, step.boxes.shape[:2]))


class LastEpoch(Source):
    """The student's logits of the epoch before, as they were when each image had its turn (PS-KD)."""

    def __init__(self, images: int, classes: int, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.known = torch.full((images, classes), torch.nan, device=accelerator.device)
        self.fresh = self.known.clone()

    def start(self, epoch: int) -> None:
        self.fresh.fill_(torch.nan)

    def outputs(self, step: Step) -> Outputs:
        return Outputs(self.known[step.index])

    def learned(self, step: Step, student: Outputs) -> None:
        self.fresh[step.index] = student.logits.detach().float()

    def finish(self, epoch: int) -> None:
        # Every process has seen its own share of the images.
        seen = self.accelerator.reduce((~self.fresh.isnan()).float(), "sum")
        total = self.accelerator.reduce(self.fresh.nan_to_num(nan=0.0), "sum")
        self.known = torch.where(seen > 0, total / seen.clamp(min=1), torch.nan)

    def state(self) -> dict[str, Any]:
        return {"logits": self.known}

    def restore(self, state: dict[str, Any]) -> None:
        self.known = state["logits"].to(self.known.device)


class LastBatch(Source):
    """The step before: its new images come again as the first part of this one, with their old logits (DLB)."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.pictures: tuple[Tensor, Tensor, Tensor | None] | None = None
        self.logits: Tensor | None = None
        self.repeated = 0

    def start(self, epoch: int) -> None:
        self.pictures = self.logits = None

    def join(self, index: Tensor, views: Tensor, twin: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """The last step's new images, their views and second views, before this step's."""
        last, self.pictures = self.pictures, (index, views, twin)
        self.repeated = 0 if self.logits is None else len(self.logits)
        if last is None or not self.repeated:
            return self.pictures
        twins = None if twin is None or last[2] is None else torch.cat([last[2], twin])
        return torch.cat([last[0], index]), torch.cat([last[1], views]), twins

    def outputs(self, step: Step) -> Outputs:
        logits = step.targets.new_full((len(step.index), self.classes), torch.nan)
        if self.logits is not None:
            logits[: self.repeated] = self.logits
        return Outputs(logits)

    def learned(self, step: Step, student: Outputs) -> None:
        self.logits = student.logits[self.repeated :].detach().float()
