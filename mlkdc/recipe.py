"""Recipes: what to train, as YAML that is checked completely before anything runs."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mlkdc.errors import RecipeError, UsageError, nearest
from mlkdc.fit import Fit
from mlkdc.recipe_faults import faults_of, without_faults
from mlkdc.resources import digest, shipped
from mlkdc.values import LARGEST_SEED, AnyFloat, Deviations, Means, Number, Points, Whole, load_yaml, once_each

#: Where release, text and printed equation of a paper differ: the authors' code, the settled reading, or as printed;
#: ``printed`` is the printed loss of a paper whose code does not run.
Form = Literal["reference", "paper", "literal", "printed"]


class Section(BaseModel):
    """A part of a recipe: unknown keys, wrong types and numbers that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


class Augment(Section):
    """Random changes to a training view. The teacher and the student see the same view, each at its size."""

    flip: bool = Field(True, description="mirror left-right, probability one half")
    crop: Number = Field(1.0, gt=0, le=1, description="smallest fraction of the area in a random crop; 1 = no crop")
    cutout: Number = Field(0.0, ge=0, lt=1, description="side of a random-color square as a fraction of the image's")
    brightness: Number = Field(0.0, ge=0, lt=1, description="largest relative change of brightness and contrast")
    randaugment: bool = Field(False, description="torchvision's RandAugment, image by image: slow on a CPU")
    mixup: Number = Field(0.0, ge=0, description="alpha of the Beta distribution that mixes pairs of views; 0 = off")
    cutmix: Number = Field(0.0, ge=0, description="alpha of the Beta of pasted areas; 0 = off")
    views: Whole | None = Field(
        None, ge=1, description="different views of an image, taken in turns; null = a new one every epoch"
    )
    seed: Whole | None = Field(None, ge=0, le=LARGEST_SEED, description="of the views; null = the run's")

    @property
    def mixes(self) -> bool:
        """Whether views of different images are mixed, and their labels with them."""
        return self.mixup > 0 or self.cutmix > 0


class Data(Section):
    """Which images."""

    path: str = Field("digits", description="a folder or index file; 'digits' is the embedded data set")
    image_size: Whole = Field(224, ge=32, le=1024, description="student input in pixels, width and height")
    fit: Fit = Field("stretch", description="how an image becomes square: distorted, its center, or with a gray border")
    layout: str | None = Field(None, description="name of the reader; null = detect")
    separator: str | None = Field(
        None,
        min_length=1,
        description="what joins labels in a table's cell: comma, semicolon, blank, pipe, list, none; null = detect",
    )
    images: str | None = Field(None, description="folder of the images, where the paths with the labels do not lead to")
    train_splits: Annotated[list[Literal["train", "val"]], AfterValidator(once_each)] = Field(["train"], min_length=1)
    skip_bad: bool = Field(False, description="skip unreadable images, naming them")
    allow_unseen: bool = Field(False, description="train although a label is missing from the training split")
    workers: Whole = Field(0, ge=0, description="processes that decode images; 0 = decode in the main process")
    digits_images: Whole = Field(2000, ge=100, description="size of the embedded data set, all splits together")
    augment: Augment = Field(default_factory=Augment)


class Head(Section):
    """What turns a feature map into one logit per class."""

    kind: Literal["attention", "compact", "decoder", "linear"] = "attention"
    dim: Whole | None = Field(None, ge=8, description="embedding size; null = 256 compact, 768 decoder")
    ffn: Whole | None = Field(None, ge=8, description="feed-forward size; null = 512 compact, 2048 decoder")
    heads: Whole = Field(8, ge=1, description="attention heads")
    dropout: Number = Field(0.1, ge=0, lt=1)
    residual: Number = Field(0.2, ge=0, description="attention: weight of the attended scores")
    bias: Literal["zero", "prior"] = Field("prior", description="first bias; prior = the log odds of each label")


class Model(Section):
    """A backbone, its initial weights and a head."""

    model: str = Field("mobilenetv2", description="a student's short name, or any timm or torchvision model")
    width: Number = Field(1.0, gt=0, le=10, description="channel multiplier, for models that have one")
    weights: str = Field("pretrained", description="'pretrained', 'none', or a .safetensors / state-dict file")
    weights_mean: Means | None = Field(
        None, description="of the pixels (in 0..1) that the weights were trained on; null = the model's usual one"
    )
    weights_std: Deviations | None = Field(None, description="their deviation; null = the usual one")
    head: Head = Field(default_factory=Head)


class Train(Section):
    """How to optimize."""

    epochs: Whole = Field(80, ge=1)
    stop_after: Whole | None = Field(None, ge=1, description="end early, on the schedule of all epochs")
    batch_size: Whole = Field(64, ge=2)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Number = Field(1e-4, gt=0, description="highest learning rate, of the head and all else that starts at random")
    backbone_lr: Number = Field(1.0, gt=0, description="the backbone's learning rate, as a multiple of lr")
    head_first: Number = Field(0.0, ge=0, lt=1, description="fraction of the steps that leave the backbone as it is")
    schedule: Literal["onecycle", "cosine", "constant"] = "onecycle"
    warmup: Number = Field(0.2, ge=0, lt=1, description="fraction of the steps in which the one-cycle rate rises")
    weight_decay: Number = Field(1e-4, ge=0, description="on weights; never on biases and normalization")
    momentum: Number = Field(0.9, ge=0, lt=1, description="for sgd; Adam's is cycled by onecycle, as in L2D's release")
    clip_grad: Number | None = Field(None, gt=0, description="largest gradient norm; null = no clipping")
    accumulate: Whole = Field(1, ge=1, description="batches whose gradients are added up for one step")
    ema: Number = Field(0.0, ge=0, lt=1, description="decay per step of a moving average of the weights; 0 = none")
    keep: Literal["best", "last"] = Field(
        "last", description="which epoch's weights; of both, averaged ones only if their validation mAP is higher"
    )
    threads: Whole | None = Field(
        None, ge=1, le=1024, description="torch's on a CPU; null = OMP_NUM_THREADS, else by what else is running"
    )
    precision: Literal["fp32", "fp16", "bf16"] = Field("fp32", description="fp16 needs an accelerator, as a GPU")

    @property
    def epochs_run(self) -> int:
        """How many there are until the training ends, early or not."""
        return min(self.epochs, self.stop_after or self.epochs)


class Teacher(Model):
    """The model to distill from; fine-tuned once per data set and recipe, then reused."""

    image_size: Whole | None = Field(None, ge=32, le=1024, description="input in pixels; null = the student's")
    source: str | None = Field(None, description="a run folder or a weights file to use instead of fine-tuning")
    classes: str | None = Field(
        None, description="labels of a weights file that does not say: a file with one a line, or 'data' for the data's"
    )
    cache: bool = Field(True, description="keep its outputs on disk, so that runs with equal views reuse them")
    seed: Whole = Field(0, ge=0, le=LARGEST_SEED, description="of its fine-tuning; not changed by the student's seed")
    train: Train = Field(default_factory=Train)


def _held(shares: Any) -> Any:
    """Without shares of null, by which a setting takes back what a recipe holds."""
    return {term: share for term, share in shares.items() if share is not None} if isinstance(shares, dict) else shares


class Distill(Section):
    """Which method, and the weight of each of its terms."""

    method: str = "vanilla"
    base: Literal["bce", "asl", "focal", "two-way", "zlpr"] = Field(
        "bce", description="the loss of the labels, in place of the method's bce"
    )
    terms: dict[str, Number] = Field(
        default_factory=dict, description="weight by term; adds to the method's terms, 0 disables a term"
    )
    balance: Annotated[dict[str, Number], BeforeValidator(_held)] = Field(
        default_factory=dict, description="share of the gradient by term, held by adapting its weight"
    )
    options: dict[str, dict[str, AnyFloat | bool | str]] = Field(
        default_factory=dict, description="by term, then option"
    )
    form: Form | None = Field(
        None, description="where released code, text and printed equation differ; null = the method's default"
    )
    ramp: Number = Field(
        0.0, ge=0, le=1, description="fraction of training over which relation terms rise to their full weight"
    )
    patches: Literal["random", "corners"] = Field("random", description="which four crops of an image mskd uses")


class Bench(Section):
    """How to time."""

    runs: Whole = Field(200, ge=200, description="timed calls per process, at least")
    seconds: Number = Field(3.0, gt=0, description="that they last at least")
    passes: Whole = Field(5, ge=1, description="processes per row; rows are interleaved")
    threads: list[Annotated[Whole, Field(ge=1)]] = Field([1, 2], min_length=1)


class Export(Section):
    """How int8 models are made, and how much accuracy they may lose."""

    calibration: Whole = Field(256, ge=1, description="images of the training split to estimate ranges on")
    equalize: bool | None = Field(None, description="even out channels before int8; null = if branches were merged")
    reduce_range: bool = Field(
        True, description="use half of the int8 range for weights (onnx, openvino); false needs VNNI on x86"
    )
    max_drop: Points | None = Field(None, description="allowed drop of mAP in percentage points; null = the target's")
    max_class_drop: Points | None = Field(
        None, description="allowed drop of a class's AP in percentage points; null = the target's"
    )
    qat_epochs: Whole = Field(
        0, ge=0, description="epochs of fine-tuning with int8's rounding where no other step holds its limits; 0 = none"
    )
    keep_images: Whole = Field(
        32, ge=0, description="images of each kind kept in the run folder: with answers, and to calibrate on; 0 = none"
    )


class Recipe(Section):
    """Everything one run needs."""

    name: str = Field("unnamed", pattern=r"^[\w./-]+$")
    description: str = ""
    seed: Whole = Field(0, ge=0, le=LARGEST_SEED)
    data: Data = Field(default_factory=Data)
    student: Model = Field(default_factory=Model)
    teacher: Teacher | None = None
    distill: Distill = Field(default_factory=Distill)
    train: Train = Field(default_factory=Train)
    targets: list[str] = Field(["onnx"], min_length=1, description="what `mlkdc run` exports to: onnx, openvino-int8")
    export: Export = Field(default_factory=Export)
    bench: Bench = Field(default_factory=Bench)

    def hash(self) -> str:
        """A short digest of all values but the name and description."""
        return digest(self.model_dump(exclude={"name", "description"}))

    def to_yaml(self) -> str:
        """The resolved recipe; :func:`load_recipe` reads it back to an equal one."""
        return yaml.safe_dump(self.model_dump(), sort_keys=False, allow_unicode=True)


def shipped_recipes() -> dict[str, Path]:
    """All shipped recipes by name (with folders: ``paper/l2d-table1/swin_s-swin_t``); no file or folder in ``_``."""
    root = shipped("recipes")
    recipes = {}
    for path in root.rglob("*.yaml"):
        name = path.relative_to(root).with_suffix("").as_posix()
        if "/_" not in f"/{name}":
            recipes[name] = path
    return dict(sorted(recipes.items()))


def find_recipe(name: str) -> Path:
    """The file of a shipped recipe's name, or the path itself when it names a YAML file.

    Raises:
        UsageError: neither; the message gives the nearest shipped names.
    """
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise UsageError(f"no recipe file {name}; `mlkdc ls recipes` lists the shipped ones")
    recipes = shipped_recipes()
    if name not in recipes:
        raise UsageError(f"unknown recipe {name!r}; {nearest(name, recipes)} (`mlkdc ls recipes` lists them)")
    return recipes[name]


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    return merged


def _override(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Merge, but where the method changes drop the base's terms, options, form and balance, which belonged to it."""
    before, change = base.get("distill"), over.get("distill")
    if isinstance(before, dict) and isinstance(change, dict):
        method = before.get("method")
        if change.get("method", method) != method:
            kept = dict(before)
            for key in ("terms", "options", "form", "balance"):
                kept.pop(key, None)
            base = {**base, "distill": kept}
    return _merge(base, over)


def read_yaml(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A YAML mapping with its ``extends`` chain applied; paths in ``extends`` are relative to the file,
    then to the shipped recipes, so that a copied recipe still finds its base.

    Raises:
        UsageError: not YAML, not a mapping, or the extended file is missing or extends this one.

    ``below`` holds the files that extend this one.
    """
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        raise UsageError(f"{path} is empty: expected a recipe, such as a copy of a shipped one (`mlkdc cp quickstart`)")
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected a mapping of keys to values, got {type(content).__name__}")
    extended = content.pop("extends", None)
    if extended is None:
        return content
    for folder in (path.parent, shipped("recipes")):
        base = (folder / str(extended)).with_suffix(".yaml")
        if base.is_file() and base.resolve() not in (*below, path.resolve()):
            return _override(read_yaml(base, (*below, path.resolve())), content)
    raise UsageError(f"{path}: extends {extended!r}, which is neither next to it nor among the shipped recipes")


def apply_settings(values: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Apply ``key.sub=value`` strings (values in YAML) to a nested mapping, and return the result.

    Raises:
        UsageError: a setting without ``=``.
    """
    result = values
    for setting in settings:
        dotted, equals, text = setting.partition("=")
        if not equals or not dotted:
            raise UsageError(f"--set {setting!r}: expected key=value, such as train.epochs=20")
        try:
            nested: Any = yaml.safe_load(text)
        except yaml.YAMLError:
            nested = text
        for key in reversed(dotted.strip().split(".")):
            nested = {key: nested}
        result = _merge(result, nested)
    return result


def make_recipe(values: dict[str, Any], source: str) -> Recipe:
    """Check all values at once.

    Raises:
        RecipeError: every fault, by dotted key, with the nearest valid key where one was mistyped; with the rest of the
            recipe, whose names can be checked all the same.
    """
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(faults_of(error, Recipe), source, _rest(values, error)) from None


def _rest(values: dict[str, Any], error: ValidationError) -> Recipe | None:
    """With defaults for what is faulty; None where that is no recipe."""
    try:
        return Recipe.model_validate(without_faults(values, error))
    except ValidationError:
        return None


def load_recipe(name: str | Path, settings: list[str] | None = None, overrides: dict[str, Any] | None = None) -> Recipe:
    """A recipe by shipped name or file, with ``--set`` overrides applied, checked for types and keys.

    Terms, options and form belong to a method: where an override changes the method, the file's are dropped.

    Args:
        name: a shipped recipe's name, or a YAML file.
        settings: ``key.sub=value`` strings, values in YAML.
        overrides: a nested mapping of plain values (paths that YAML would misread), applied last.

    Names of models, methods and targets are checked by the layers that know them (``mlkdc validate`` runs all).

    Raises:
        UsageError: no such recipe or not YAML.
        RecipeError: wrong or unknown keys.

    Example:
        >>> from mlkdc import load_recipe
        >>> recipe = load_recipe("l2d-mobilenet", ["train.epochs=20"])
        >>> recipe.student.model, recipe.distill.method, recipe.train.epochs
        ('mobilenetv2', 'l2d', 20)
    """
    path = find_recipe(str(name))
    values = {"name": path.stem, **read_yaml(path)}
    changes = _merge(apply_settings({}, settings or []), overrides or {})
    return make_recipe(_override(values, changes), str(name))
