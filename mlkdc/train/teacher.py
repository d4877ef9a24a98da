"""Where a teacher comes from: a run, a weights file, or a fine-tuning that is done once and reused."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch

from mlkdc.data.listing import known_splits
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.losses import make_objective
from mlkdc.models import build_model, check_name, is_complete_model, load_state, read_state
from mlkdc.progress import Progress
from mlkdc.recipe import Distill, Model, Recipe, Teacher
from mlkdc.records.images import ImageList
from mlkdc.records.results import TeacherFacts
from mlkdc.records.run import Run, load_run
from mlkdc.resources import cache_dir, digest, file_sha256
from mlkdc.train.draws import views_seed
from mlkdc.train.facts import data_facts
from mlkdc.train.learner import outputs_of
from mlkdc.train.loading import training_set
from mlkdc.train.plan import Plan
from mlkdc.train.processes import several
from mlkdc.train.score import load_model
from mlkdc.train.sources import TeacherSource, repeats_images
from mlkdc.train.teacher_cache import TeacherCache, halved
from mlkdc.train.teacher_labels import check_teacher_labels, labels_of_file

#: What decides which views a model is shown.
VIEW_KEYS = {"image_size", "fit", "augment", "train_splits"}

# Of files of weights: a model's name has none of these.
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")

#: Part of a cache's name; another one where the same recipe draws other views or the files are laid out anew.
CACHE_FORMAT = 5


@dataclass(frozen=True)
class ReadyTeacher:
    """A trained teacher.

    Args:
        source: gives its outputs to a training.
        weights: the file they were loaded from.
        model: the architecture.
        facts: for results.json.
    """

    source: TeacherSource
    weights: Path
    model: Model
    facts: TeacherFacts


def choose_teacher(recipe: Recipe, text: str) -> Recipe:
    """The recipe with ``--teacher TEXT`` applied: a run folder, a weights file, or a model name.

    Raises:
        UsageError: none of the three; the message gives the nearest model names.
    """
    if not make_objective(recipe.distill).needs_teacher:
        raise UsageError(f"the method {recipe.distill.method!r} uses no teacher; omit --teacher")
    teacher = recipe.teacher or Teacher()
    path = Path(text)
    if path.is_dir():
        teacher = teacher.model_copy(update=_settings_from_run(path))
    elif _is_of_run(path):
        teacher = teacher.model_copy(update=_settings_from_run(path.parent))
    elif path.is_file():
        teacher = teacher.model_copy(update=_settings_from_file(path))
    elif path.suffix in WEIGHTS_SUFFIXES or "/" in text:
        raise UsageError(f"--teacher {text}: there is no such file or run folder")
    else:
        check_name(text)
        teacher = teacher.model_copy(update={"model": text, "source": None})
    return recipe.model_copy(update={"teacher": teacher})


def _is_of_run(path: Path) -> bool:
    """Whether a file is the weights of a run, whose folder says more about them."""
    run = Run(path.parent)
    return path == run.weights and run.exists and run.finished


def _settings_from_run(folder: Path) -> dict[str, object]:
    trained = load_run(folder).recipe
    student = trained.student.model_copy(update={"weights": "none"}, deep=True)
    return {**dict(student), "image_size": trained.data.image_size, "source": str(folder)}


def _settings_from_file(path: Path) -> dict[str, object]:
    """A file of a complete model is a trained teacher; one of a backbone, the initial weights of one."""
    if is_complete_model(read_state(path)):
        return {"source": str(path)}
    return {"weights": str(path)}


def teacher_recipe(recipe: Recipe, teacher: Teacher) -> Recipe:
    """The recipe by which the teacher itself is fine-tuned: vanilla training on the same data."""
    # New views in every epoch: that some take turns is for students, which profit from the answers that are kept.
    augment = recipe.data.augment.model_copy(update={"views": None, "seed": None})
    image_size = teacher.image_size or recipe.data.image_size
    data = recipe.data.model_copy(update={"image_size": image_size, "augment": augment})
    values = recipe.model_dump() | {
        "name": f"teacher-{teacher.model}",
        "description": "fine-tuned as a teacher",
        "seed": teacher.seed,
        "data": data.model_dump(),
        "student": teacher.model_dump(include=set(Model.model_fields)),
        "teacher": None,
        "distill": Distill().model_dump(),
        "train": teacher.train.model_dump(),
    }
    return Recipe.model_validate(values)


def teacher_folder(root: Path, recipe: Recipe, plan: Plan) -> Path:
    """Where a teacher that was fine-tuned with this recipe on a plan's data is kept: next to the students' run folders.

    Args:
        root: the folder of the run folders.
        recipe: the teacher's.
        plan: the student's.
    """
    # Nothing of the student is part of the key, so that all students of one data set share their teacher.
    model = recipe.model_dump(include={"seed", "student", "train"}, exclude={"train": {"threads"}})
    weights = recipe.student.weights
    # A file counts by what it holds, wherever it lies.
    if weights not in ("pretrained", "none") and Path(weights).is_file():
        model["student"]["weights"] = file_sha256(Path(weights))
    views = recipe.data.model_dump(include=VIEW_KEYS)
    key = digest([model, views, plan.fingerprint], length=8)
    return root / f"{recipe.name.replace('/', '-')}-{key}"


def load_teacher(location: str, spec: Teacher, plan: Plan) -> ReadyTeacher:
    """A trained teacher from a run folder or a weights file.

    Args:
        location: of the folder or the file.
        spec: describes the model that a weights file is of; a run folder has its recipe for that.
        plan: of the student's training.

    Raises:
        UsageError: neither of the two, another architecture, or labels that are not the data's.
    """
    path = Path(location)
    if path.is_dir():
        return _from_run(path, plan)
    if path.is_file():
        return _from_file(path, spec, plan)
    raise UsageError(f"teacher.source {location!r} is neither a run folder nor a weights file")


def _from_run(folder: Path, plan: Plan) -> ReadyTeacher:
    run = load_run(folder)
    check_teacher_labels(run.classes, plan.data, f"the teacher in {folder}")
    results, image_size = run.results, run.recipe.data.image_size
    own, scored_on = data_facts(plan.data, plan.skipped), None
    leaked = images_trained_on(run, plan)
    if (results.data.name, results.data.images) == (own.name, own.images) and not leaked:
        scored_on = results.scored_on
    facts = TeacherFacts(
        model=results.model.model,
        image_size=image_size,
        run=str(folder),
        params=results.model.params,
        macs=results.model.macs,
        metrics=results.metrics,
        scored_on=scored_on,
        trained_on=leaked,
    )
    return ReadyTeacher(TeacherSource(load_model(run), image_size), run.weights, run.recipe.student, facts)


def images_trained_on(run: Run, plan: Plan) -> dict[str, int]:
    """How many of the student's val and test images a teacher was trained on, by split; none where all is well.

    ``run``: its folder, or that of its weights file. One of an earlier version, or without a list of images, does not
    say what it was trained on.
    """
    listed = ImageList.load(run.path)
    if listed is None:
        return {}
    trained: list[str] = ["train"]
    if run.exists:
        trained = list(run.recipe.data.train_splits)
    counts: Counter[str] = Counter()
    for sample, known in zip(plan.data.samples, known_splits(plan.data, listed), strict=True):
        if known in trained and sample.split not in plan.recipe.data.train_splits:
            counts[sample.split] += 1
    return dict(counts)


def _from_file(path: Path, spec: Teacher, plan: Plan) -> ReadyTeacher:
    image_size = spec.image_size or plan.recipe.data.image_size
    classes, fit = len(plan.data.classes), plan.recipe.data.fit
    model = build_model(spec.model_copy(update={"weights": "none"}), classes, image_size, fit)
    load_state(model, path, what=f"teacher file {path}")
    check_teacher_labels(labels_of_file(path, spec, plan.data), plan.data, f"the teacher file {path}")
    leaked = images_trained_on(Run(path.parent), plan)
    facts = TeacherFacts(model=spec.model, image_size=image_size, run=str(path), trained_on=leaked)
    return ReadyTeacher(TeacherSource(model, image_size), path, spec, facts)


def attach_cache(teacher: ReadyTeacher, plan: Plan, progress: Progress) -> None:
    """Give the teacher a cache on disk, which all runs that see the same views share; says what is in it, or why not.

    Every image has its view by number, and its answer by its own position: runs of another student, batch size, order
    or length use the same files.
    """
    data, source = plan.recipe.data, teacher.source
    if reason := _not_cacheable(plan):
        progress.say(f"the teacher's answers are not cached: {reason}")
        return
    try:
        folder = cache_dir("teachers") / answers_key(teacher, plan)
    except MlkdcError as error:
        progress.say(f"the teacher's answers are not cached: {error}")
        return
    source.cache = TeacherCache(
        folder,
        targets=training_set(plan.data, data.train_splits)[1],
        shapes=_shapes(source, plan),
        views=data.augment.views,
        epochs=plan.recipe.train.epochs_run,
    )
    progress.say(source.cache.describe())


def answers_key(teacher: ReadyTeacher, plan: Plan) -> str:
    """A digest of all that decides a teacher's answers to numbered views: weights, architecture, images, views."""
    data, preprocess = plan.recipe.data, teacher.source.model.preprocess
    views = [data.augment.model_dump(exclude={"views", "seed"}), views_seed(plan.recipe), data.fit, data.train_splits]
    model = teacher.model.model_dump(include=set(Model.model_fields) - {"weights"})
    weights = [file_sha256(teacher.weights), model, preprocess.mean, preprocess.std]
    size_and_precision = [preprocess.size, plan.recipe.train.precision]
    return digest([CACHE_FORMAT, weights, size_and_precision, plan.fingerprint, views])


def _not_cacheable(plan: Plan) -> str | None:
    """Why a training cannot use answers that were kept; None where it can."""
    augment = plan.recipe.data.augment
    if "stages" in plan.objective.fields("teacher"):
        return f"{plan.recipe.distill.method} compares feature maps, which are too large to keep"
    if augment.mixes:
        return "images are mixed with others of their batch"
    if repeats_images(plan.objective.sources):
        return "images come twice, in different batches"
    if several():
        return "each of several processes has a part of a batch"
    return None


@torch.no_grad()
def _shapes(source: TeacherSource, plan: Plan) -> dict[str, tuple[int, ...]]:
    """Of one row of each of the teacher's outputs that are kept."""
    image = torch.zeros(1, 3, source.image_size, source.image_size)
    every_label = torch.ones(1, len(plan.data.classes))
    outputs, _ = outputs_of(source.model.eval(), image, every_label, plan.objective.fields("teacher"))
    return {name: tuple(tensor.shape[1:]) for name, tensor in halved(outputs).items()}
