"""One training from its first step to its results, in its run folder."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlkdc.data.listing import list_images
from mlkdc.errors import UsageError
from mlkdc.figures import first_few
from mlkdc.models import MultiLabelModel, build_model
from mlkdc.models.attention import AttentionHead
from mlkdc.progress import Progress
from mlkdc.recipe import Model, Teacher
from mlkdc.records.results import Results, TeacherFacts
from mlkdc.records.run import Run
from mlkdc.resources import file_sha256
from mlkdc.runtime.machine import machine
from mlkdc.runtime.system import versions
from mlkdc.train.allocator import keep_memory
from mlkdc.train.checkpoint import save_weights
from mlkdc.train.facts import PACKAGES, data_facts, model_facts
from mlkdc.train.kept import keep_images
from mlkdc.train.loop import Trainer
from mlkdc.train.plan import Plan
from mlkdc.train.processes import is_main, wait
from mlkdc.train.score import score
from mlkdc.train.teacher import ReadyTeacher
from mlkdc.train.teacher_labels import SHOWN_LABELS, recorded_labels
from mlkdc.train.threads import training_threads


@dataclass(frozen=True)
class InitialModel:
    """A model before its first step.

    Args:
        model: with its initial weights, on the CPU.
        random_state: of torch's CPU generator, right after the model was built.
    """

    model: MultiLabelModel
    random_state: Tensor


def build_initial(spec: Model, plan: Plan) -> InitialModel:
    """The model that a plan trains; its random weights depend on the plan's seed alone.

    Args:
        spec: the student of the plan's recipe, or the :class:`~mlkdc.recipe.Teacher` that the plan fine-tunes, so that
            messages name the section of the recipe.
        plan: gives seed, number of classes and image size.

    Raises:
        UsageError: a width or image size the model does not have, weights that do not load or are of a model with other
            labels, or a feature map too small for what the plan compares.
    """
    _check_labels(spec, plan)
    torch.manual_seed(plan.recipe.seed)
    data, bias = plan.recipe.data, None
    if spec.head.bias == "prior":
        bias = _log_odds(plan)
    model = build_model(spec, len(plan.data.classes), data.image_size, data.fit, bias)
    random_state = torch.get_rng_state()
    check_embeddings(model, data.image_size, "student", plan)
    return InitialModel(model, random_state)


def _check_labels(spec: Model, plan: Plan) -> None:
    """Raise UsageError where the initial weights are of a complete model whose head answers other labels."""
    path = Path(spec.weights).expanduser()
    labels = recorded_labels(path) if path.is_file() else None
    if labels is not None and labels != plan.data.classes:
        section = "teacher" if isinstance(spec, Teacher) else "student"
        raise UsageError(
            f"{section}.weights {path} is of a model with the labels {first_few(labels, SHOWN_LABELS)}, expected those "
            f"of the data in their order ({first_few(plan.data.classes, SHOWN_LABELS)}): its head would begin with "
            "other labels; give the weights of a backbone, or 'pretrained'"
        )


@torch.no_grad()
def check_embeddings(model: MultiLabelModel, image_size: int, section: str, plan: Plan) -> None:
    """Check that the labels of an image have embeddings of their own, where the plan's method compares them.

    Those of residual attention are one and the same without attention, and over a single position.

    Args:
        model: of the recipe's ``section``, ``student`` or ``teacher``.
        image_size: that it looks at.
        section: of the recipe.
        plan: of the student's training.

    Raises:
        UsageError: they are all the same.
    """
    if f"{section}.embeddings" not in plan.objective.needs or not isinstance(model.head, AttentionHead):
        return
    what = f"{plan.recipe.distill.method} compares the embeddings of an image's labels, which are all the same"
    instead = f"`--set {section}.head.kind=compact`"
    if model.head.residual == 0:
        raise UsageError(f"{what} with {section}.head.residual=0; use a larger one, as 0.2, or {instead}")
    height, width = model.eval().features(torch.zeros(1, 3, image_size, image_size)).shape[2:]
    model.train()
    if height * width == 1:
        key = "data.image_size" if section == "student" else "teacher.image_size"
        raise UsageError(
            f"{what} on a feature map of 1 x 1, as the {section}'s images of {image_size} px have; use a larger {key}, "
            f"or {instead}"
        )


def _log_odds(plan: Plan) -> Tensor:
    """``float32[q]`` from the training images and two more, of which one has all labels and one has none.

    So a label that no image has, or every image, has finite odds too (Laplace's rule of succession).
    """
    images = 0
    positives = np.zeros(len(plan.data.classes))
    for split in plan.recipe.data.train_splits:
        targets = plan.data.targets(split)
        images += len(targets)
        positives += targets.sum(axis=0)
    return torch.from_numpy(np.log((positives + 1) / (images - positives + 1))).float()


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        run: the folder it is done in, which may not exist yet.
        plan: what is trained, on what.
        initial: the model.
        command: recorded if the training starts, and not if it resumes.
        progress: hears of every step.
    """

    run: Run
    plan: Plan
    initial: InitialModel
    command: str
    progress: Progress

    def start(self) -> None:
        """Make the folder a run folder, from which the training can be resumed, in all processes."""
        if is_main():
            self.run.path.mkdir(parents=True, exist_ok=True)
            # Of a resumed run, they are those that it began with, but may have moved.
            list_images(self.plan.data, self.plan.skipped).save(self.run.path)
            self.run.start(self.plan.recipe, self.plan.data.classes, self.command)
        wait()


def train(job: Job, teacher: ReadyTeacher | None) -> Run:
    """Train from the initial weights, or from the folder's checkpoint; then score and save.

    Raises:
        MlkdcError: a loss became NaN or the disk is full.
    """
    run, recipe, model = job.run, job.plan.recipe, job.initial.model
    keep_memory()
    job.start()
    if is_main():
        run.log(job.command or f"training {recipe.name}")
    job.progress.say(f"training {recipe.student.model} ({recipe.distill.method}) in {run.path}")
    source, teacher_facts = None, None
    if teacher is not None:
        source, teacher_facts = teacher.source, teacher.facts
    # Layers that terms train are initialized next; a teacher that was trained in between must not change them.
    torch.set_rng_state(job.initial.random_state)
    trainer = Trainer(run.path, recipe, model, job.plan.data, job.plan.objective, source, job.progress)
    if trainer.keeper.lacks_images:
        job.progress.say(
            "train.keep and train.ema choose by validation images, of which there are none: the last epoch's weights "
            "are kept, not averaged"
        )
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    with _threads(job, trainer):
        trainer.train(resume=run.checkpoint.is_file())
        if is_main():
            _finish(job, teacher_facts, started, trainer)
    wait()
    # A fresh one: what `run` has read so far may be of before the training.
    return Run(run.path)


def _threads(job: Job, trainer: Trainer) -> AbstractContextManager[None]:
    if trainer.accelerator.device.type != "cpu":
        return nullcontext()
    return training_threads(job.plan.recipe.train.threads, job.progress.say)


def _finish(job: Job, teacher: TeacherFacts | None, started: str, trainer: Trainer) -> None:
    """Score the student, and write its weights and results."""
    plan, model = job.plan, job.initial.model
    recipe, kept = plan.recipe, trainer.keeper.install()
    scores = score(model, plan.data, recipe.data.train_splits)
    # The memory layout it was trained in is a matter of speed; a saved model has the plain one.
    model.cpu().to(memory_format=torch.contiguous_format).eval()
    save_weights(job.run.weights, model, {"classes": "\n".join(plan.data.classes), "model": recipe.student.model})
    keep_images(job.run, recipe, model, plan.data, job.progress.say)
    results = Results(
        **scores.model_dump(),
        name=recipe.name,
        method=recipe.distill.method,
        recipe_hash=recipe.hash(),
        command=job.run.command,
        seed=recipe.seed,
        started=started,
        training_seconds=trainer.seconds,
        versions=versions(PACKAGES),
        machine=machine(str(trainer.accelerator.device)),
        data=data_facts(plan.data, plan.skipped),
        teacher=teacher,
        model=model_facts(recipe, model),
        kept_epoch=kept.epoch,
        kept_average=kept.average,
        chosen_on="val" if trainer.keeper.chooses else None,
        weights_sha256=file_sha256(job.run.weights),
    )
    results.save(job.run.path)
    job.run.log(f"done: mAP {results.map_percent:.2f} on {results.scored_on}")
