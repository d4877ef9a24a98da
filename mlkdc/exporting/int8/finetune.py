"""Quantization-aware fine-tuning: a run's training goes on for an epoch or two, with the rounding of int8 in each pass.

As NNCF and PT2E do it: weights and the inputs of layers are rounded in the forward pass, and the gradient passes as if
they were not (Bengio et al. 2013). The float weights that come of it lose less when a target's own quantizer rounds
them, so every target takes them as it takes those of the training.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mlkdc.data.runs import is_gone, missing_path
from mlkdc.errors import UsageError
from mlkdc.exporting.builder import Builder
from mlkdc.exporting.int8.bias import input_ranges, measure
from mlkdc.exporting.int8.layers import laid_out, layers_of, round_input, rounded_weight
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.merging.fold import fold_input_scale
from mlkdc.exporting.merging.head import FoldedHead
from mlkdc.exporting.merging.model import PIXEL_SCALE, ExportModel, for_half
from mlkdc.losses import make_objective
from mlkdc.models import Backbone, MultiLabelModel
from mlkdc.progress import Progress
from mlkdc.recipe import Distill, Recipe
from mlkdc.records.manifest import Preprocess
from mlkdc.records.run import Run
from mlkdc.train.loop import Trainer
from mlkdc.train.plan import Plan
from mlkdc.train.processes import on_cpu
from mlkdc.train.sources import TeacherSource
from mlkdc.train.teacher import attach_cache, load_teacher
from mlkdc.train.threads import training_threads

# Of the recipe's learning rate: the weights are trained already, and have no batch normalization to hold them.
RATE = 0.1
# Images that the ranges of the layers' inputs are estimated on.
RANGED_IMAGES = 64
# The recipe may ask for it as well as the option.
WITHOUT = "export without it: --qat-epochs 0"

Value = TypeVar("Value")


class Merged(MultiLabelModel):
    """A merged model as a training takes one: its backbone and head are those of the model to export.

    Args:
        model: merged.
        preprocess: of the model it was merged from.
    """

    scale: Tensor | None

    def __init__(self, model: ExportModel, preprocess: Preprocess) -> None:
        super().__init__(cast(Backbone, model.backbone), model.head, preprocess)
        self.register_buffer("scale", model.scale, persistent=False)

    def normalize(self, x: Tensor) -> Tensor:
        """As the exported model does it: the division can be in the first convolution."""
        pixels = x - self.mean
        return pixels if self.scale is None else pixels * self.scale


class _Rounding(nn.Module):
    """A weight as int8 rounds it, with the gradient of the weight."""

    def __init__(self, steps: float, per_channel: bool) -> None:
        super().__init__()
        self.steps, self.per_channel = steps, per_channel

    def forward(self, weight: Tensor) -> Tensor:
        return rounded_weight(weight, self.per_channel, self.steps)


class _Spread(nn.Module):
    """A bias as a decoder that is folded has it: in equal parts, which are summed."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, bias: Tensor) -> Tensor:
        return bias / self.parts

    def right_inverse(self, spread: Tensor) -> Tensor:
        return spread * self.parts


@contextmanager
def gathered_bias(model: ExportModel) -> Iterator[None]:
    """Within it, the bias of a folded decoder is one parameter of its full size.

    A step of Adam's moves each of the parts as far as any other parameter, and so their sum as many times as far as
    there are parts.
    """
    head = model.head
    if not isinstance(head, FoldedHead) or head.shortcut is not None:
        yield
        return
    parametrize.register_parametrization(head, "bias", _Spread(head.weight.shape[1]))
    try:
        yield
    finally:
        parametrize.remove_parametrizations(head, "bias")


@contextmanager
def rounding(model: ExportModel, images: np.ndarray, how: Quantization) -> Iterator[None]:
    """Within it, each pass of the model rounds as ``how`` says, and its float weights can be trained.

    Args:
        model: merged, on the CPU.
        images: ``uint8[n, 3, s, s]``, of which ranges are estimated.
        how: ranges, steps of the weights, and which modules stay in floating point.
    """
    layers = layers_of(model)
    exact, _ = measure(model, laid_out(images, model))
    with ExitStack() as stack:
        for name, (low, high) in input_ranges(exact, how).items():
            layer = layers[name]
            stack.callback(layer.register_forward_pre_hook(round_input(low, high)).remove)
            parametrize.register_parametrization(layer, "weight", _Rounding(how.steps_of(layer), how.per_channel))
            stack.callback(parametrize.remove_parametrizations, layer, "weight", leave_parametrized=False)
        yield


def check(run: Run, moved_to: str | None = None) -> None:
    """Find out whether a run's training can go on, before anything is made.

    ``moved_to``: where the run's data is now, if it has moved.

    Raises:
        UsageError: its data or its teacher is missing, or every term of its objective has layers that were trained
            along and not kept.
    """
    if moved_to is None and is_gone(run):
        raise UsageError(
            f"fine-tuning for int8 needs the run's data, and {missing_path(run.recipe)} is not there; say where it is "
            f"with --data PATH, or {WITHOUT}"
        )
    objective = make_objective(run.recipe.distill)
    if set(objective.with_layers) == set(objective.terms):
        raise UsageError(
            f"{' and '.join(objective.with_layers)} trained layers along, which a finished run does not keep, and the "
            f"run has no other term to be fine-tuned for int8 with; {WITHOUT}"
        )
    if make_objective(_distill(run.recipe.distill)).needs_teacher:
        _teacher_location(run)


def terms_left_out(recipe: Recipe) -> tuple[str, ...]:
    """The terms that fine-tuning does without, as their layers were trained along and are not kept."""
    return make_objective(recipe.distill).with_layers


def fine_tune(builder: Builder, how: Quantization, epochs: int) -> ExportModel:
    """A copy of the builder's merged model that was trained on, as int8 would round it.

    The run's recipe, data and teacher are used.

    Args:
        builder: of a finished run, which :func:`check` has found nothing against.
        how: as the ladder's first step is made, with calibration images.
        epochs: how many.

    Raises:
        MlkdcError: a loss became NaN or infinite.
    """
    run, say, folder = builder.request.run, builder.say, builder.scratch / "fine-tuning"
    folder.mkdir()
    shape = (1, 3, builder.size, builder.size)
    # Adam's steps are of one size for all weights: those of a first convolution with the pixels' scale in them are
    # smaller than all others.
    tuned = for_half(builder.merged, shape).requires_grad_(True)
    recipe = _recipe(run.recipe, epochs)
    if left_out := terms_left_out(run.recipe):
        say(f"  fine-tuned without {' and '.join(left_out)}: a finished run does not keep its layers")
    plan = Plan(recipe, make_objective(recipe.distill), builder.images.data)
    progress = _Said(say)
    with rounding(tuned, how.images[:RANGED_IMAGES], how), gathered_bias(tuned):
        student = Merged(tuned, builder.model.preprocess)
        teacher = _teacher(run, plan, progress)
        trainer = Trainer(folder, recipe, student, builder.images.data, plan.objective, teacher, progress)
        on_cpu = trainer.accelerator.device.type == "cpu"
        with training_threads(recipe.train.threads, say) if on_cpu else nullcontext():
            trainer.train(resume=False)
        tuned.cpu().to(memory_format=torch.contiguous_format)
    tuned.eval()
    if builder.merged.scale is None and tuned.scale is not None:
        fold_input_scale(tuned.backbone, torch.zeros(shape), torch.full((3,), 1 / PIXEL_SCALE))
        tuned.scale = None
    return tuned.requires_grad_(False)


def _recipe(recipe: Recipe, epochs: int) -> Recipe:
    """The run's, for some epochs more: terms at their full weight, every parameter trained, the last epoch kept."""
    changes: dict[str, object] = {"epochs": epochs, "stop_after": None, "lr": RATE * recipe.train.lr}
    if on_cpu() and recipe.train.precision == "fp16":
        changes["precision"] = "fp32"  # of a run that was trained elsewhere; a CPU has no other way
    train = recipe.train.model_copy(update={**changes, "head_first": 0.0, "ema": 0.0, "keep": "last"})
    return recipe.model_copy(update={"train": train, "distill": _distill(recipe.distill)})


def _distill(distill: Distill) -> Distill:
    """Without a ramp, and without the terms whose layers are not kept."""
    objective = make_objective(distill)
    left_out = objective.with_layers
    balance = _without(distill.balance, left_out)
    # One term must be left that the held shares are measured by.
    if set(balance) >= set(objective.terms) - set(left_out):
        balance = {}
    changes = {
        "ramp": 0.0,
        "terms": {**distill.terms, **dict.fromkeys(left_out, 0.0)},
        "balance": balance,
        "options": _without(distill.options, left_out),
    }
    return distill.model_copy(update=changes)


def _without(of_term: Mapping[str, Value], left_out: Collection[str]) -> dict[str, Value]:
    return {name: value for name, value in of_term.items() if name not in left_out}


def _teacher(run: Run, plan: Plan, progress: Progress) -> TeacherSource | None:
    spec = plan.recipe.teacher
    if not plan.objective.needs_teacher or spec is None:
        return None
    teacher = load_teacher(str(_teacher_location(run)), spec, plan)
    if spec.cache:
        attach_cache(teacher, plan, progress)
    return teacher.source


def _teacher_location(run: Run) -> Path:
    """The run folder or file of the run's teacher, where it was or next to a run that has moved."""
    facts = run.results.teacher
    assert facts is not None  # of a finished run whose objective needs one
    recorded = Path(facts.run)
    for path in (recorded, run.path.resolve().parent / recorded.name):
        if path.exists():
            return path
    raise UsageError(
        f"fine-tuning for int8 needs the run's teacher, and {recorded} is not there; put it back, or {WITHOUT}"
    )


class _Said(Progress):
    """A training's news as an export's, with no bar."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def say(self, text: str) -> None:
        """One line of news."""
        self._say(f"  {text}")
