"""The training loop: one student, one objective, and what the objective compares the student with."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DataLoaderConfiguration
from torch import Tensor
from torch.utils.data import DataLoader

from mlkdc.errors import MlkdcError, UsageError
from mlkdc.losses import Batch, Objective
from mlkdc.metrics import evaluate
from mlkdc.models import MultiLabelModel
from mlkdc.progress import Progress
from mlkdc.recipe import Recipe
from mlkdc.records.results import METRICS_FILE as METRICS
from mlkdc.records.run import CHECKPOINT_FILE as CHECKPOINT
from mlkdc.resources import write_atomic
from mlkdc.train.checkpoint import load_checkpoint, save_checkpoint
from mlkdc.train.input.patches import Patches
from mlkdc.train.input.store import EpochOrder, ImageStore, batches
from mlkdc.train.input.views import Views, resize
from mlkdc.train.learner import Learner
from mlkdc.train.optim import make_optimizer, make_schedule
from mlkdc.train.predict import predict
from mlkdc.train.processes import state
from mlkdc.train.sources import Crops, LastBatch, LastEpoch, Previous, Source, Step, TeacherSource, memory_format
from mlkdc.types import TaggedImages

# The second view of an image is of another stream of random numbers than the first.
_TWIN = 1 << 41


class Trainer:
    """Trains ``model`` in ``folder`` by a recipe.

    Args:
        folder: the run folder; metrics.jsonl and the checkpoint go there.
        recipe: the resolved recipe.
        model: the student (or a teacher that is fine-tuned).
        data: checked data.
        objective: what to minimize.
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
        self.objective, self.model, self.layout = objective, model, memory_format(model)
        self.accelerator = _accelerator(recipe)
        self.samples = [sample for name in recipe.data.train_splits for sample in data.split(name)]
        targets = np.concatenate([data.targets(name) for name in recipe.data.train_splits])
        self.targets = torch.from_numpy(targets).float().to(self.accelerator.device)
        loader = self._draw_views(max(recipe.data.image_size, teacher.image_size if teacher else 0))
        held_out = () if "val" in recipe.data.train_splits else data.split("val")
        self.validation = ImageStore(held_out, recipe.data.image_size) if held_out else None
        model.to(self.accelerator.device).to(memory_format=self.layout)
        learner = Learner(model, objective)
        self.sources = self._sources(teacher)
        if objective.has_layers:
            self.learner = learner
            learner.layers = objective.build(self._example()).to(self.accelerator.device)
        optimizer = make_optimizer(learner, recipe.train)
        self.learner, self.optimizer, self.loader = self.accelerator.prepare(learner, optimizer, loader)
        self.schedule = make_schedule(optimizer, recipe.train, len(self.loader))
        self.epochs = min(recipe.train.epochs, recipe.train.stop_after or recipe.train.epochs)
        self.seconds = 0.0

    def _draw_views(self, size: int) -> DataLoader[tuple[int, Tensor]]:
        """Batches of images, and what turns them into random views of ``size`` pixels."""
        spec, seed, count = self.recipe.data, self.recipe.seed, len(self.samples)
        self.views = Views(spec.augment, size, count, seed)
        self.twins = Views(spec.augment, size, count, seed + _TWIN) if "twin" in self.objective.sources else None
        crops = "patches" in self.objective.sources
        self.patches = Patches(self.recipe.distill.patches, count, seed) if crops else None
        self.order = EpochOrder(count, seed)
        store = ImageStore(self.samples, round(size * 1.15) if spec.augment.crop < 1 else size)
        # Half of each batch is the last one's.
        parts = (2 if "last_batch" in self.objective.sources else 1) * self.accelerator.num_processes
        if self.recipe.train.batch_size % parts:
            raise UsageError(
                f"train.batch_size {self.recipe.train.batch_size} cannot be shared by {parts} equal parts (processes, "
                "and halves where each step repeats half of the last one); choose a multiple of that"
            )
        new = self.recipe.train.batch_size * self.accelerator.num_processes // parts
        return batches(store, new, spec.workers, self.order)

    def _draw(self, epoch: int) -> None:
        """Everything random about an epoch's pictures."""
        for drawn in (self.views, self.twins, self.patches):
            if drawn:
                drawn.set_epoch(epoch)

    def _sources(self, teacher: TeacherSource | None) -> dict[str, Source]:
        images, classes = self.targets.shape
        made: dict[str, Source] = {}
        for name in sorted(self.objective.sources - {"twin", "samples"}):  # these two are the learner's
            if name == "teacher":
                assert teacher is not None
                teacher.prepare(self.objective, self.accelerator.device)
                made[name] = teacher
            elif name == "previous":
                made[name] = Previous(self.model)
            elif name == "patches":
                made[name] = Crops(self.model, self.recipe.data.image_size, self.layout)
            elif name == "last_epoch":
                made[name] = LastEpoch(images, classes, self.accelerator)
            else:
                made[name] = LastBatch(classes)
        return made

    @torch.no_grad()
    def _example(self) -> Batch:
        """A batch of two empty pictures, to know the shapes of all outputs."""
        index = torch.zeros(2, dtype=torch.int64, device=self.accelerator.device)
        self._draw(0)
        side = self.views.size
        self.learner.eval()
        empty = torch.zeros(2, 3, side, side, dtype=torch.uint8, device=index.device)
        return self._batch(*self._look(index, empty))

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
        self._draw(epoch)
        torch.manual_seed(hash((self.recipe.seed, epoch)))
        for source in self.sources.values():
            source.start(epoch)
        self.learner.train()
        totals: dict[str, float] = {}
        for step, (index, images) in enumerate(self.loader):
            terms = self._step(epoch, step, index, images)
            for name, value in terms.items():
                totals[name] = totals.get(name, 0.0) + value
            rate = (step + 1) * len(index) * self.accelerator.num_processes / (time.perf_counter() - began)
            figures = {**terms, "lr": float(self.schedule.get_last_lr()[0]), "images_per_second": rate}
            self.progress.step(figures)
        for source in self.sources.values():
            try:
                source.finish(epoch)
            except MlkdcError as error:  # a full disk under the teacher's cache; the training itself is unharmed
                self.progress.say(f"the teacher's outputs are no longer kept: {error}")
        seconds = time.perf_counter() - began
        self.seconds += seconds
        if self.accelerator.is_main_process:
            self._end_of_epoch(epoch, {name: value / (step + 1) for name, value in totals.items()}, rate, seconds)

    def _look(self, index: Tensor, images: Tensor) -> tuple[Step, Tensor | None]:
        """Random views of a batch of images, and the second view where a term wants one."""
        views = self.views(index, images)
        twin = self._student_size(self.twins(index, images)) if self.twins else None
        last = self.sources.get("last_batch")
        if isinstance(last, LastBatch):
            index, views, twin = last.join(index, views, twin)
        boxes = self.patches.boxes(index) if self.patches else None
        return Step(index, self.targets[index], views, self._student_size(views), boxes), twin

    def _student_size(self, views: Tensor) -> Tensor:
        return resize(views, self.recipe.data.image_size).contiguous(memory_format=self.layout)

    def _batch(self, step: Step, twin: Tensor | None) -> Batch:
        """Every output that some term asks for, and no other."""
        with self.accelerator.autocast():
            found = self.learner(step.pixels, step.targets, step.boxes, twin)
            with torch.no_grad():
                found |= {name: source.outputs(step) for name, source in self.sources.items()}
        return Batch(step.targets, **found)

    def _step(self, epoch: int, number: int, index: Tensor, images: Tensor) -> dict[str, float]:
        step, twin = self._look(index, images)
        batch = self._batch(step, twin)
        terms = self.objective(replace(batch, progress=(epoch + number / len(self.loader)) / self.epochs))
        loss = torch.stack(list(terms.values())).sum()
        values = {name: term.item() for name, term in terms.items()}
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            raise MlkdcError(
                f"the loss term {bad[0]!r} became {values[bad[0]]} in epoch {epoch + 1}, step {number + 1}; "
                f"the checkpoint of the last whole epoch is kept. Try a smaller train.lr (now {self.recipe.train.lr}), "
                "train.clip_grad=1, or train.precision=fp32"
            )
        self.accelerator.backward(loss)
        with torch.no_grad():
            for source in self.sources.values():
                source.learned(step, batch.student)
        if self.recipe.train.clip_grad:
            self.accelerator.clip_grad_norm_(self.learner.parameters(), self.recipe.train.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        return values

    def _end_of_epoch(self, epoch: int, terms: dict[str, float], rate: float, seconds: float) -> None:
        line: dict[str, Any] = {
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
            "layers": self.accelerator.unwrap_model(self.learner).layers.state_dict(),
            "sources": {name: source.state() for name, source in self.sources.items()},
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.accelerator.scaler.state_dict() if self.accelerator.scaler else None,
            "seconds": self.seconds,
        }
        save_checkpoint(self.folder / CHECKPOINT, state)

    def _restore(self) -> int:
        state = load_checkpoint(self.folder / CHECKPOINT)
        self.model.load_state_dict(state["model"])
        self.accelerator.unwrap_model(self.learner).layers.load_state_dict(state["layers"])
        for name, source in self.sources.items():
            source.restore(state["sources"][name])
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


def _accelerator(recipe: Recipe) -> Accelerator:
    precision = {"fp32": "no", "fp16": "fp16", "bf16": "bf16"}[recipe.train.precision]
    # The library keeps one precision per process; a teacher and its student may differ in it.
    AcceleratorState._reset_state(reset_partial_state=False)
    state()
    # train.batch_size is the whole batch, however many processes share it.
    return Accelerator(mixed_precision=precision, dataloader_config=DataLoaderConfiguration(split_batches=True))
