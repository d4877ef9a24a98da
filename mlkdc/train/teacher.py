"""Where a teacher comes from: a run, a weights file, or a fine-tuning that is done once and reused."""

from pathlib import Path

from safetensors import safe_open

from mlkdc.data import fingerprint
from mlkdc.errors import UsageError
from mlkdc.losses import make_objective
from mlkdc.models import build_model, check_name, load_state
from mlkdc.models.weights import read_state
from mlkdc.recipe import Distill, Model, Recipe, Teacher
from mlkdc.resources import cache_dir, digest, file_sha256
from mlkdc.train.runs import WEIGHTS, load_run
from mlkdc.train.sources import TeacherSource
from mlkdc.train.teacher_cache import TeacherCache
from mlkdc.types import TaggedImages


def choose_teacher(recipe: Recipe, text: str) -> Recipe:
    """The recipe with ``--teacher TEXT`` applied: a run folder, a weights file, or a model name.

    Raises:
        UsageError: none of the three; the message gives the nearest model names.
    """
    if not make_objective(recipe.distill).needs_teacher:
        raise UsageError(f"the method {recipe.distill.method!r} has no use for a teacher; leave --teacher out")
    teacher = recipe.teacher or Teacher()
    path = Path(text)
    if path.is_dir():
        run = load_run(path)
        spec = run.recipe.student.model_dump() | {"weights": "none"}
        size = run.recipe.data.image_size
        teacher = teacher.model_copy(update={**Model(**spec).__dict__, "image_size": size, "source": text})
    elif path.is_file():
        whole = any(name.startswith("backbone.") for name in read_state(path))
        teacher = teacher.model_copy(update={"source": text} if whole else {"weights": text})
    else:
        check_name(text)
        teacher = teacher.model_copy(update={"model": text, "source": None})
    return recipe.model_copy(update={"teacher": teacher})


def teacher_recipe(recipe: Recipe, teacher: Teacher) -> Recipe:
    """The recipe by which the teacher itself is fine-tuned: plain training on the same data."""
    data = recipe.data.model_copy(update={"image_size": teacher.image_size or recipe.data.image_size})
    student = Model(**{name: getattr(teacher, name) for name in Model.model_fields})
    values = recipe.model_dump() | {
        "name": f"teacher-{teacher.model}",
        "description": "fine-tuned as a teacher",
        "seed": teacher.seed,
        "data": data.model_dump(),
        "student": student.model_dump(),
        "teacher": None,
        "distill": Distill().model_dump(),
        "train": teacher.train.model_dump(),
    }
    return Recipe.model_validate(values)


def teacher_folder(root: Path, recipe: Recipe, data: TaggedImages) -> Path:
    """Where a fine-tuned teacher for this data and recipe is kept, beside the students' run folders."""
    parts = recipe.model_dump(include={"seed", "student", "train"})
    augment = recipe.data.model_dump(include={"image_size", "augment", "train_splits"})
    key = digest([parts, augment, fingerprint(data)], length=8)
    return root / f"{recipe.name.replace('/', '-')}-{key}"


def load_teacher(source: str, teacher: Teacher, recipe: Recipe, data: TaggedImages) -> tuple[TeacherSource, str]:
    """A ready teacher from a run folder or a weights file, and the path of its weights.

    Raises:
        UsageError: another architecture, or labels that are not the data's.
    """
    path = Path(source)
    size = teacher.image_size or recipe.data.image_size
    if path.is_dir():
        run = load_run(path)
        _same_labels(run.classes, data, f"the teacher in {path}")
        model, weights, size = run.model(), path / WEIGHTS, run.recipe.data.image_size
    elif path.is_file():
        spec = teacher.model_copy(update={"weights": "none"})
        model, weights = build_model(spec, len(data.classes), size), path
        load_state(model, path, what=f"teacher file {path}")
        _same_labels(_file_labels(path), data, f"the teacher file {path}")
    else:
        raise UsageError(f"teacher.source {source!r} is neither a run folder nor a weights file")
    return TeacherSource(model, size), str(weights)


def _file_labels(path: Path) -> list[str] | None:
    """The labels that our own weights files carry; None where a file does not say."""
    if path.suffix != ".safetensors":
        return None
    with safe_open(path, "pt") as file:
        names = (file.metadata() or {}).get("classes")
    return None if names is None else names.split("\n")


def _same_labels(labels: list[str] | None, data: TaggedImages, what: str) -> None:
    if labels is not None and labels != list(data.classes):
        unknown = sorted(set(data.classes) - set(labels))
        shown = f", among them not {unknown[0]!r}" if unknown else " in another order"
        raise UsageError(
            f"{what} knows {len(labels)} labels{shown}; the data has {len(data.classes)}. "
            "Fine-tune a teacher on this data: `--teacher MODEL`"
        )


def attach_cache(teacher: TeacherSource, weights: str, recipe: Recipe, data: TaggedImages) -> None:
    """Give the teacher a cache that is shared by all runs that see the same views in the same order."""
    key = digest(
        [
            file_sha256(Path(weights)),
            fingerprint(data),
            recipe.data.model_dump(include={"image_size", "augment", "train_splits"}),
            [recipe.seed, recipe.train.batch_size, recipe.train.precision, teacher.image_size],
        ]
    )
    teacher.cache = TeacherCache(cache_dir("teachers") / key, recipe.train.stop_after or recipe.train.epochs)
