"""The training loop: one student, one objective, and what the objective compares the student with."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import Tensor
from torch.utils.data import default_collate

from mlkdc.errors import MlkdcError, UsageError, first_line
from mlkdc.losses import Batch, Objective
from mlkdc.losses.balance import Balance, gradient_norms
from mlkdc.metrics import evaluate
from mlkdc.models import MultiLabelModel, memory_format
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.records.gradients import imbalances
from mlkdc.records.results import METRICS_FILE, Epoch, read_epochs
from mlkdc.records.run import CHECKPOINT_FILE
from mlkdc.resources import write_text
from mlkdc.train.checkpoint import load_checkpoint, save_checkpoint
from mlkdc.train.draws import Draws
from mlkdc.train.input.store import EpochOrder
from mlkdc.train.keep import Keeper
from mlkdc.train.learner import Learner
from mlkdc.train.loading import make_accelerator, training_batches, training_images, training_set, validation_images
from mlkdc.train.optim import make_optimizer, make_schedule
from mlkdc.train.predict import predict
from mlkdc.train.sources import Source, SourceContext, Step, TeacherSource, make_sources, repeats_images
from mlkdc.train.steps import Steps
from mlkdc.types import TaggedImages


class Trainer:
    """Trains ``model`` in ``folder`` by a recipe.

    Args:
        folder: the run folder; metrics.jsonl and the checkpoint go there.
        recipe: the resolved recipe.
        model: the student (or a teacher that is fine-tuned).
        data: checked data.
        objective: what to minimize.
        teacher: needed if some term of the objective needs one.
        progress: hears of every step.

    Raises:
        UsageError: a source is unknown.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        model: MultiLabelModel,
        data: TaggedImages,
        objective: Objective,
        teacher: TeacherSource | None,
        progress: Progress,
    ) -> None:
        self.folder, self.recipe, self.data, self.progress = folder, recipe, data, progress
        self.objective, self.model, layout = objective, model, memory_format(model)
        self.accelerator = make_accelerator(recipe)
        device = self.accelerator.device
        samples, targets = training_set(data, recipe.data.train_splits)
        self.targets = targets.to(device)
        self.frequency = self.targets.mean(0)
        # First of all: sources may copy the student, and the optimizer takes its parameters where they are.
        model.to(device).to(memory_format=layout)
        images, classes = targets.shape
        context = SourceContext(model, recipe, images, classes, self.accelerator, teacher)
        self.sources = make_sources(objective, context)
        sizes = self._sizes()
        self.images = training_images(recipe, samples, sizes)
        self.draws = Draws(recipe, objective, images, sizes, layout)
        self.order = EpochOrder(images, recipe.seed)
        repeats = repeats_images(objective.sources)
        loader = training_batches(recipe, self.images, self.order, repeats)
        self.validation = validation_images(data, recipe, model.preprocess)
        learner = Learner(model, objective)
        if objective.with_layers:
            self.learner = learner
            learner.layers = objective.build(self._example()).to(device)
        self.keeper = Keeper(model, recipe.train, validated=self.validation is not None)
        # Without those that are fixed by design.
        self.backbone = [parameter for parameter in model.backbone.parameters() if parameter.requires_grad]
        optimizer = make_optimizer(learner, model.backbone, recipe.train)
        self.learner, self.optimizer, self.loader = self.accelerator.prepare(learner, optimizer, loader)
        self.steps = Steps(recipe.train, len(self.loader))
        self.schedule = make_schedule(optimizer, recipe.train, self.steps.per_epoch)
        self.balance = Balance(objective, recipe.distill.balance, len(self.loader))
        self.epochs = recipe.train.epochs_run
        self.seconds = 0.0
        self.judged = False

    def _sizes(self) -> list[int]:
        """Of the views, the student's first."""
        student = self.recipe.data.image_size
        others = {source.image_size for source in self.sources.values()}
        return [student, *sorted(others - {0, student})]

    @torch.no_grad()
    def _example(self) -> Batch:
        """A batch of two images, to know the shapes of all outputs."""
        self.draws.set_epoch(0)
        for source in self.sources.values():
            source.start(0)
        self.learner.eval()
        return self._batch(self._look(*self._load([0, 0])))

    def _load(self, index: list[int]) -> tuple[Tensor, list[Tensor]]:
        """Some training images, as the loader gives them."""
        batch = default_collate([self.images[position] for position in index])
        loaded: tuple[Tensor, list[Tensor]] = send_to_device(batch, self.accelerator.device)
        return loaded

    def train(self, resume: bool) -> float:
        """Run all remaining epochs; returns the seconds spent training, those before it was stopped included.

        Raises:
            MlkdcError: a loss term became NaN or infinite, or a checkpoint could not be written.
        """
        first = 0
        if resume and (self.folder / CHECKPOINT_FILE).is_file():
            first = self._restore()
        elif self.accelerator.is_main_process:
            # Of a training that was stopped before its first checkpoint, and begins anew.
            (self.folder / METRICS_FILE).unlink(missing_ok=True)
        steps = len(self.loader)
        self.progress.start(self.recipe.name, self.epochs * steps, first * steps)
        try:
            for epoch in range(first, self.epochs):
                self._epoch(epoch)
        finally:
            self.progress.end()
        return self.seconds

    def _epoch(self, epoch: int) -> None:
        began = time.perf_counter()
        self._start(epoch)
        totals = dict.fromkeys(self.objective.terms, 0.0)
        for number, (index, images) in enumerate(self.loader):
            terms = self._step(epoch, number, index, images)
            for name, value in terms.items():
                totals[name] += value
            steps = number + 1
            # A process sees its part of each batch.
            rate = steps * len(index) * self.accelerator.num_processes / (time.perf_counter() - began)
            self.progress.step({**terms, "lr": self._learning_rate(), "images_per_second": rate})
        self._finish(epoch)
        seconds = time.perf_counter() - began
        self.seconds += seconds
        if self.accelerator.is_main_process:
            self._end_of_epoch(epoch, {name: value / steps for name, value in totals.items()}, rate, seconds)

    def _start(self, epoch: int) -> None:
        """Draw everything random of an epoch, which depends on the seed and the epoch alone."""
        self.order.epoch = epoch
        self.draws.set_epoch(epoch)
        self.balance.start()
        # Dropout too: an epoch of a resumed run is the one of an uninterrupted run. Each process has images of its own
        # and drops other units; all else that is random comes from generators that are the same in every process.
        torch.manual_seed(hash((self.recipe.seed, epoch)) + self.accelerator.process_index)
        for source in self.sources.values():
            source.start(epoch)
        self.learner.train()
        # A loader draws a seed for its workers here, but in the first epoch only where it keeps them. So that dropout
        # does not depend on them, loaders draw from a generator of their own (:func:`batches`), and this stands for it.
        torch.empty((), dtype=torch.int64).random_()

    def _finish(self, epoch: int) -> None:
        for source in self.sources.values():
            self._show_unseen(source)
            try:
                source.finish(epoch)
            except MlkdcError as error:  # a full disk under the teacher's cache; the training itself is unharmed
                self.progress.say(f"the teacher's outputs are no longer cached: {error}")

    @torch.no_grad()
    def _show_unseen(self, source: Source) -> None:
        unseen, size = source.unseen(), self.recipe.train.batch_size
        for first in range(0, len(unseen), size):
            with self.accelerator.autocast():
                source.outputs(self._look(*self._load(unseen[first : first + size])))

    def _look(self, index: Tensor, images: Sequence[Tensor]) -> Step:
        """Random views of a batch of new images, and of those that a source repeats."""
        drawn = self.draws(index, images)
        for source in self.sources.values():
            drawn = source.join(drawn)
        return self.draws.step(drawn, self.targets[drawn.index])

    def _batch(self, step: Step) -> Batch:
        """Every output that some term needs, and no other."""
        with self.accelerator.autocast():
            outputs = self.learner(step.pixels, step.targets, step.boxes, step.twins)
            with torch.no_grad():
                for name, source in self.sources.items():
                    outputs[name] = source.outputs(step)
        return replace(Batch.of(step.targets, outputs), frequency=self.frequency)

    def _step(self, epoch: int, number: int, index: Tensor, images: Sequence[Tensor]) -> dict[str, float]:
        """What one batch adds to the gradient, and the optimizer's update if it is the last of its step.

        Returns:
            The weighted terms of the batch.
        """
        self._freeze(self.steps.trains_backbone(epoch, number))
        step = self._look(index, images)
        batch = self._batch(step)
        progress = (epoch + self.steps.first_of(number) / len(self.loader)) / self.recipe.train.epochs
        terms = self.objective(replace(batch, progress=progress))
        values = {name: term.item() for name, term in terms.items()}
        self._check_finite(values, epoch, number)  # before weights become NaN too
        features = self.accelerator.unwrap_model(self.learner).features
        shares = self.objective.shares(terms, self.steps.size_of(number))
        # No gradient reaches the map of a backbone that is not trained yet.
        if self.balance.due(number) and features.requires_grad:
            self._measure(shares, batch, features, progress)
        self.accelerator.backward(torch.stack(list(shares.values())).sum())
        with torch.no_grad():
            for source in self.sources.values():
                source.learned(step, batch.student)
        if self.steps.ends(number):
            self._update()
            self.keeper.updated(self.steps.done(epoch, number) + 1)
        return values

    def _freeze(self, trains_backbone: bool) -> None:
        """While the head is trained first, the backbone has no gradient, and batches do not move its statistics."""
        if self.recipe.train.head_first:
            self.model.backbone.train(trains_backbone)
            for parameter in self.backbone:
                parameter.requires_grad_(trains_backbone)

    def _update(self) -> None:
        """One step of the optimizer."""
        # Sources remember the weights that the outputs come from.
        with torch.no_grad():
            for source in self.sources.values():
                source.updating()
        if self.recipe.train.clip_grad:
            self.accelerator.clip_grad_norm_(self.learner.parameters(), self.recipe.train.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()

    def _measure(self, terms: dict[str, Tensor], batch: Batch, features: Tensor, progress: float) -> None:
        """The terms' gradients, before the backward pass that frees what they are computed from."""
        scale = 1.0
        if self.accelerator.scaler:
            scale = self.accelerator.scaler.get_scale()
        self.balance.measured(gradient_norms(terms, batch.student.logits, features, scale), progress)

    def _check_finite(self, terms: dict[str, float], epoch: int, number: int) -> None:
        for name, value in terms.items():
            if not math.isfinite(value):
                raise MlkdcError(
                    f"the loss term {name!r} became {value} in epoch {epoch + 1}, step {number + 1}; "
                    f"the checkpoint of the last complete epoch is kept. Try a smaller train.lr (now "
                    f"{self.recipe.train.lr}), train.clip_grad=1, or train.precision=fp32"
                )

    def _learning_rate(self) -> float:
        return float(self.schedule.get_last_lr()[0])

    def _end_of_epoch(self, epoch: int, terms: dict[str, float], rate: float, seconds: float) -> None:
        line = Epoch(
            epoch=epoch + 1,
            step=(epoch + 1) * self.steps.per_epoch,
            lr=self._learning_rate(),
            loss=sum(terms.values()),
            terms=terms,
            images_per_second=rate,
            seconds=seconds,
            val_map_percent=self._validate(self.model),
            val_map_ema_percent=self._validate(self.keeper.averaged),
            gradients=self.balance.means(),
        )
        self.keeper.end_of_epoch(line.epoch, line.val_map_percent, line.val_map_ema_percent)
        message = f"epoch {line.epoch}/{self.epochs}: loss {line.loss:.3f}"
        if line.val_map_percent is not None:
            message += f", val mAP {line.val_map_percent:.2f}"
        if line.val_map_ema_percent is not None:
            message += f" ({line.val_map_ema_percent:.2f} averaged)"
        self.progress.say(message)
        if line.gradients and not self.judged:
            self.judged = True
            for imbalance in imbalances([line], self.recipe.distill.base, self.recipe.distill.balance):
                self.progress.say(imbalance.sentence())
        # Before the checkpoint: _restore drops the lines that no checkpoint reaches, but cannot make missing ones.
        with (self.folder / METRICS_FILE).open("a", encoding="utf-8") as log:
            log.write(line.line())
        save_checkpoint(self.folder / CHECKPOINT_FILE, self._state(line.epoch))

    def _validate(self, model: MultiLabelModel | None) -> float | None:
        """mAP on the validation images in percent; None where there are none, or no model."""
        if self.validation is None or model is None:
            return None
        probabilities = predict(model, self.validation)
        return evaluate(self.data.targets("val"), probabilities, None).summary["mAP"]

    def _state(self, epochs: int) -> dict[str, Any]:
        """All that a run needs to be resumed after this many epochs as if it had not been stopped."""
        scaler = None
        if self.accelerator.scaler:
            scaler = self.accelerator.scaler.state_dict()
        return {
            "epoch": epochs,
            "model": self.model.state_dict(),
            "layers": self.accelerator.unwrap_model(self.learner).layers.state_dict(),
            "sources": {name: source.state() for name, source in self.sources.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": scaler,
            "keeper": self.keeper.state(),
            "balance": self.balance.state(),
            "seconds": self.seconds,
        }

    def _restore(self) -> int:
        """Take over the checkpoint's state; returns the number of epochs done."""
        path = self.folder / CHECKPOINT_FILE
        checkpoint = load_checkpoint(path)
        missing = self._state(0).keys() - checkpoint.keys()
        if missing:
            raise UsageError(
                f"{path} has no {', '.join(sorted(missing))}: it was written by an earlier version; train again "
                "without --resume"
            )
        try:
            self._take_over(checkpoint)
        except (RuntimeError, ValueError, KeyError) as error:  # torch's words for what does not fit
            raise UsageError(
                f"{path} is not of the model and training that recipe.yaml next to it describes "
                f"({first_line(error)}); put that file back as it was, or train again in another folder"
            ) from error
        epochs: int = checkpoint["epoch"]
        metrics = self.folder / METRICS_FILE
        if not metrics.is_file():
            raise UsageError(f"{metrics} is missing; copy the complete run folder, or train again in another one")
        lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        write_text(metrics, "".join(lines[:epochs]))
        self.judged = any(line.gradients for line in read_epochs(self.folder))
        return epochs

    def _take_over(self, checkpoint: dict[str, Any]) -> None:
        layers = [name for name in checkpoint["balance"]["factors"] if name in self.objective.with_layers]
        # The optimizer knows parameters by their position only. Earlier versions began with any order.
        if layers != list(self.objective.with_layers):
            raise ValueError(f"the layers of its terms are in the order {', '.join(layers)}")
        self.model.load_state_dict(checkpoint["model"])
        self.accelerator.unwrap_model(self.learner).layers.load_state_dict(checkpoint["layers"])
        for name, source in self.sources.items():
            source.restore(checkpoint["sources"][name])
        self.optimizer.load_state_dict(checkpoint["optimizer"])
        self.schedule.load_state_dict(checkpoint["schedule"])
        if self.accelerator.scaler and checkpoint["scaler"]:
            self.accelerator.scaler.load_state_dict(checkpoint["scaler"])
        self.keeper.restore(checkpoint["keeper"])
        self.balance.restore(checkpoint["balance"])
        self.seconds = checkpoint["seconds"]
