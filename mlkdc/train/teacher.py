"""Where a teacher comes from: a run, a weights file, or a fine-tuning that is done once and reused."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from mlkdc.data import fingerprint
from mlkdc.errors import UsageError
from mlkdc.losses import make_objective
from mlkdc.models import build_model, check_name, load_state, read_state
from mlkdc.recipe import Distill, Model, Recipe, Teacher
from mlkdc.records.results import TeacherFacts
from mlkdc.records.run import load_run
from mlkdc.resources import cache_dir, digest, file_sha256
from mlkdc.train.plan import Plan
from mlkdc.train.score import load_model
from mlkdc.train.sources import TeacherSource
from mlkdc.train.teacher_cache import TeacherCache
from mlkdc.types import TaggedImages

#: What decides which views a model is shown.
VIEW_KEYS = {"image_size", "augment", "train_splits"}


@dataclass(frozen=True)
class ReadyTeacher:
    """A trained teacher.

    Args:
        source: gives its outputs to a training.
        weights: the file they were loaded from.
        facts: for results.json.
    """

    source: TeacherSource
    weights: Path
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
    elif path.is_file():
        teacher = teacher.model_copy(update=_settings_from_file(path))
    else:
        check_name(text)
        teacher = teacher.model_copy(update={"model": text, "source": None})
    return recipe.model_copy(update={"teacher": teacher})


def _settings_from_run(folder: Path) -> dict[str, object]:
    trained = load_run(folder).recipe
    student = trained.student.model_copy(update={"weights": "none"}, deep=True)
    return {**dict(student), "image_size": trained.data.image_size, "source": str(folder)}


def _settings_from_file(path: Path) -> dict[str, object]:
    """A file of a complete model is a trained teacher; one of a backbone, the initial weights of one."""
    is_complete = any(name.startswith("backbone.") for name in read_state(path))
    if is_complete:
        return {"source": str(path)}
    return {"weights": str(path)}


def teacher_recipe(recipe: Recipe, teacher: Teacher) -> Recipe:
    """The recipe by which the teacher itself is fine-tuned: vanilla training on the same data."""
    data = recipe.data.model_copy(update={"image_size": teacher.image_size or recipe.data.image_size})
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


def teacher_folder(root: Path, recipe: Recipe, data: TaggedImages) -> Path:
    """Where a teacher that was fine-tuned with this recipe on this data is kept: next to the students' run folders."""
    # Nothing of the student is part of the key, so that all students of one data set share their teacher.
    model = recipe.model_dump(include={"seed", "student", "train"}, exclude={"train": {"threads"}})
    views = recipe.data.model_dump(include=VIEW_KEYS)
    key = digest([model, views, fingerprint(data)], length=8)
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
        return _from_run(path, plan.data)
    if path.is_file():
        return _from_file(path, spec, plan)
    raise UsageError(f"teacher.source {location!r} is neither a run folder nor a weights file")


def _from_run(folder: Path, data: TaggedImages) -> ReadyTeacher:
    run = load_run(folder)
    _check_labels(run.classes, data, f"the teacher in {folder}")
    results, image_size = run.results, run.recipe.data.image_size
    facts = TeacherFacts(
        model=results.model.model,
        image_size=image_size,
        run=str(folder),
        params=results.model.params,
        macs=results.model.macs,
        metrics=results.metrics,
    )
    return ReadyTeacher(TeacherSource(load_model(run), image_size), run.weights, facts)


def _from_file(path: Path, spec: Teacher, plan: Plan) -> ReadyTeacher:
    image_size = spec.image_size or plan.recipe.data.image_size
    model = build_model(spec.model_copy(update={"weights": "none"}), len(plan.data.classes), image_size)
    load_state(model, path, what=f"teacher file {path}")
    labels = _file_labels(path)
    if labels is not None:
        _check_labels(labels, plan.data, f"the teacher file {path}")
    facts = TeacherFacts(model=spec.model, image_size=image_size, run=str(path))
    return ReadyTeacher(TeacherSource(model, image_size), path, facts)


def _file_labels(path: Path) -> tuple[str, ...] | None:
    """The labels recorded in the header of a weights file that mlkdc wrote; None for other files."""
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, "pt") as file:
        metadata: dict[str, str] = file.metadata() or {}
    names = metadata.get("classes")
    if names is None:
        return None
    return tuple(names.split("\n"))


def _check_labels(labels: tuple[str, ...], data: TaggedImages, what: str) -> None:
    if labels == data.classes:
        return
    difference = " in another order"
    unknown = sorted(set(data.classes) - set(labels))
    if unknown:
        difference = f", among them not {unknown[0]!r}"
    raise UsageError(
        f"{what} has {len(labels)} labels{difference}; the data has {len(data.classes)}. "
        "Fine-tune a teacher on this data: `--teacher MODEL`"
    )


def attach_cache(teacher: ReadyTeacher, plan: Plan) -> None:
    """Give the teacher a cache on disk that all runs with the same views in the same order share."""
    recipe = plan.recipe
    # All that the outputs depend on, and the order in which the cache holds them.
    order = [recipe.seed, recipe.train.batch_size, recipe.train.precision, teacher.source.image_size]
    views = recipe.data.model_dump(include=VIEW_KEYS)
    key = digest([file_sha256(teacher.weights), fingerprint(plan.data), views, order])
    epochs = recipe.train.stop_after or recipe.train.epochs
    teacher.source.cache = TeacherCache(cache_dir("teachers") / key, epochs)
