"""The training loop: one student, one objective, and a teacher if the objective asks for one."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from mlkdc.data.store import EpochOrder, ImageStore, batches
from mlkdc.data.views import Views, resize
from mlkdc.distill import Batch, Objective, Outputs
from mlkdc.engine.checkpoint import load_checkpoint, save_checkpoint
from mlkdc.engine.optim import make_optimizer, make_schedule
from mlkdc.engine.predict import predict
from mlkdc.engine.progress import Progress
from mlkdc.engine.runs import CHECKPOINT, METRICS
from mlkdc.engine.teacher_cache import TeacherCache
from mlkdc.errors import MlkdcError
from mlkdc.metrics import evaluate
from mlkdc.models import MultiLabelModel, prefers_channels_last
from mlkdc.recipe import Recipe
from mlkdc.resources import write_atomic
from mlkdc.types import TaggedImages


@dataclass
class TeacherSource:
    """A frozen teacher, the size at which it looks at the views, and its cache."""

    model: MultiLabelModel
    image_size: int
    cache: TeacherCache | None


def _packed(embeddings: Tensor | None, targets: Tensor) -> Tensor | None:
    return None if embeddings is None else embeddings[targets.bool()]


class _Learner(nn.Module):
    """One forward call, as multi-process wrappers need it: images to logits and positive embeddings."""

    def __init__(self, model: MultiLabelModel, embeddings: bool) -> None:
        super().__init__()
        self.model = model
        self.embeddings = embeddings

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor | None]:
        output = self.model.head(self.model.features(images))
        return output.logits, _packed(output.embeddings, targets) if self.embeddings else None


class Trainer:
    """Trains ``model`` in ``folder`` by a recipe.

    Args:
        folder: the run folder; metrics.jsonl and the checkpoint go there.
        recipe: the resolved recipe.
        model: the student (or a teacher that is fine-tuned).
        data: checked data.
        objective: what to minimise.
        teacher: needed if the objective asks for one.
        progress: hears of every step.
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
        self.objective, self.teacher = objective, teacher
        spec = recipe.train
        precision = {"fp32": "no", "fp16": "fp16", "bf16": "bf16"}[spec.precision]
        # The library keeps one precision per process; a teacher and its student may differ in it.
        AcceleratorState._reset_state(reset_partial_state=False)
        self.accelerator = Accelerator(mixed_precision=precision)
        self.samples = [sample for name in recipe.data.train_splits for sample in data.split(name)]
        targets = np.concatenate([data.targets(name) for name in recipe.data.train_splits])
        self.targets = torch.from_numpy(targets).float().to(self.accelerator.device)
        view_size = max(recipe.data.image_size, teacher.image_size if teacher else 0)
        store_size = round(view_size * 1.15) if recipe.data.augment.crop < 1 else view_size
        self.views = Views(recipe.data.augment, view_size, len(self.samples), recipe.seed)
        self.order = EpochOrder(len(self.samples), recipe.seed)
        store = ImageStore(self.samples, store_size)
        held_out = () if "val" in recipe.data.train_splits else data.split("val")
        self.validation = ImageStore(held_out, recipe.data.image_size) if held_out else None
        loader = batches(store, spec.batch_size, recipe.data.workers, self.order)
        self.model = model
        self.layout = torch.channels_last if prefers_channels_last(model) else torch.contiguous_format
        model.to(memory_format=self.layout)
        learner = _Learner(model, "student.embeddings" in objective.needs)
        optimizer = make_optimizer(model, spec)
        self.learner, self.optimizer, self.loader = self.accelerator.prepare(learner, optimizer, loader)
        self.schedule = make_schedule(optimizer, spec, len(self.loader))
        if teacher:
            self.teacher_layout = (
                torch.channels_last if prefers_channels_last(teacher.model) else torch.contiguous_format
            )
            teacher.model.to(self.accelerator.device).to(memory_format=self.teacher_layout)
            teacher.model.eval().requires_grad_(False)
        self.epochs = min(spec.epochs, spec.stop_after or spec.epochs)
        self.seconds = 0.0

    def train(self, resume: bool) -> float:
        """Run all remaining epochs; returns the seconds spent training, earlier sessions included.

        Raises:
            MlkdcError: a loss term became NaN or infinite, or a checkpoint could not be written.
        """
        first = self._restore() if resume and (self.folder / CHECKPOINT).is_file() else 0
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
        self.order.epoch = epoch
        self.views.set_epoch(epoch)
        torch.manual_seed(hash((self.recipe.seed, epoch)))
        if self.teacher and self.teacher.cache:
            self.teacher.cache.start(epoch)
        self.learner.train()
        totals: dict[str, float] = {}
        for step, (index, images) in enumerate(self.loader):
            terms = self._step(epoch, step, index, images)
            for name, value in terms.items():
                totals[name] = totals.get(name, 0.0) + value
            rate = (step + 1) * len(index) * self.accelerator.num_processes / (time.perf_counter() - began)
            figures = {**terms, "lr": self.schedule.get_last_lr()[0], "images_per_s": rate}
            self.progress.step(figures)
        if self.teacher and self.teacher.cache:
            try:
                self.teacher.cache.finish(epoch)
            except MlkdcError as error:  # the training itself is unharmed
                self.progress.say(f"the teacher's outputs are no longer kept: {error}")
        seconds = time.perf_counter() - began
        self.seconds += seconds
        if self.accelerator.is_main_process:
            self._end_of_epoch(epoch, {name: value / (step + 1) for name, value in totals.items()}, rate, seconds)

    def _step(self, epoch: int, step: int, index: Tensor, images: Tensor) -> dict[str, float]:
        targets = self.targets[index]
        views = self.views(index, images)
        pixels = resize(views, self.recipe.data.image_size).contiguous(memory_format=self.layout)
        with self.accelerator.autocast():
            logits, embeddings = self.learner(pixels, targets)
            taught = self._taught(views, targets)
        batch = Batch(targets, Outputs(logits, embeddings), taught)
        progress = (epoch + step / len(self.loader)) / self.epochs
        terms = self.objective(batch, progress)
        loss = torch.stack(list(terms.values())).sum()
        values = {name: term.item() for name, term in terms.items()}
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            raise MlkdcError(
                f"the loss term {bad[0]!r} became {values[bad[0]]} in epoch {epoch + 1}, step {step + 1}; "
                f"the checkpoint of the last whole epoch is kept. Try a smaller train.lr (now {self.recipe.train.lr}), "
                "train.clip_grad=1, or train.precision=fp32"
            )
        self.accelerator.backward(loss)
        if self.recipe.train.clip_grad:
            self.accelerator.clip_grad_norm_(self.learner.parameters(), self.recipe.train.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        return values

    @torch.no_grad()
    def _taught(self, views: Tensor, targets: Tensor) -> Outputs | None:
        if self.teacher is None:
            return None
        embeddings = "teacher.embeddings" in self.objective.needs
        cache = self.teacher.cache
        kept = cache.get(targets, embeddings) if cache else None
        if kept is None:
            pixels = resize(views, self.teacher.image_size).contiguous(memory_format=self.teacher_layout)
            output = self.teacher.model.head(self.teacher.model.features(pixels))
            kept = Outputs(output.logits, _packed(output.embeddings, targets) if embeddings else None)
            if cache:
                kept = cache.put(kept)
        return kept

    def _end_of_epoch(self, epoch: int, terms: dict[str, float], rate: float, seconds: float) -> None:
        line = {
            "epoch": epoch + 1,
            "step": (epoch + 1) * len(self.loader),
            "lr": self.schedule.get_last_lr()[0],
            "loss": sum(terms.values()),
            "terms": terms,
            "images_per_s": rate,
            "seconds": seconds,
        }
        if self.validation:
            probabilities = predict(self.model, self.validation)
            line["mAP"] = evaluate(self.data.targets("val"), probabilities, None).summary["mAP"]
        scored = f", val mAP {line['mAP']:.2f}" if "mAP" in line else ""
        self.progress.say(f"epoch {epoch + 1}/{self.epochs}: loss {line['loss']:.3f}{scored}")
        with (self.folder / METRICS).open("a") as log:  # before the checkpoint: _restore drops what it does not reach
            log.write(json.dumps(line) + "\n")
        state = {
            "epoch": epoch + 1,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
            "seconds": self.seconds,
        }
        save_checkpoint(self.folder / CHECKPOINT, state)

    def _restore(self) -> int:
        state = load_checkpoint(self.folder / CHECKPOINT)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.accelerator.scaler and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.seconds = state["seconds"]
        done: int = state["epoch"]
        log = self.folder / METRICS
        kept = "".join(line + "\n" for line in log.read_text().splitlines()[:done])
        write_atomic(log, lambda temporary: temporary.write_text(kept))
        return done
