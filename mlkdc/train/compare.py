"""Did the teacher help? A run compared with vanilla training of the same student on the same data and budget."""

import shlex
from dataclasses import dataclass
from typing import Any

import yaml

from mlkdc.errors import UsageError
from mlkdc.figures import number
from mlkdc.methods import load_method
from mlkdc.recipe import Recipe
from mlkdc.records.images import ImageList
from mlkdc.records.results import TeacherFacts
from mlkdc.records.run import RECIPE_FILE, Run
from mlkdc.report.teacher import weakness

#: What two runs must have in common to be compared, next to the loss of the labels: the student, the data and its
#: views, and the budget.
SHARED = ("student", "data", "train")
VANILLA = "vanilla"
#: Where SGD trains: rates that differ by less than this factor are taken for one.
SAME_RATE = 2.0


@dataclass(frozen=True)
class Comparison:
    """A run's mAP minus a baseline's.

    Args:
        baseline: the vanilla run.
        gain_points: of the run over it, in percentage points; negative where the method did harm.
        same_seed: whether both have one seed. Without it the difference includes that between seeds.
    """

    baseline: Run
    gain_points: float
    same_seed: bool


@dataclass(frozen=True)
class WrittenRecipe:
    """What a comparison reads of a recipe.yaml: as it is written there, not checked.

    A run of another version, whose recipe has other keys, had another budget; that is not a fault. So the sections are
    compared as mappings, whatever is in them.
    """

    values: dict[str, Any]

    @classmethod
    def of(cls, run: Run) -> "WrittenRecipe":
        """The recipe in a run folder; an empty one where the file is damaged: another run's fault is not this one's."""
        try:
            values = yaml.safe_load((run.path / RECIPE_FILE).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            values = None
        if not isinstance(values, dict):
            values = {}
        return cls(values)

    def section(self, name: str) -> dict[str, Any]:
        """A part of the recipe; empty where it is missing."""
        return self.values.get(name) or {}

    def shared(self, name: str) -> dict[str, Any]:
        """What a part says of the student, the data or the budget: how many threads compute it is no part of that."""
        return {key: value for key, value in self.section(name).items() if key != "threads"}

    @property
    def seed(self) -> int | None:
        """Of the student's training."""
        return self.values.get("seed")

    @property
    def method(self) -> str:
        """Of distillation."""
        return str(self.section("distill").get("method"))

    @property
    def weights(self) -> dict[str, float]:
        """Weights by loss term, where the recipe changes its method's."""
        return self.section("distill").get("terms") or {}

    @property
    def base(self) -> str:
        """The loss of the labels."""
        return str(self.section("distill").get("base", "bce"))

    @property
    def base_options(self) -> dict[str, Any]:
        """What the recipe sets of that loss."""
        options = self.section("distill").get("options") or {}
        return options.get(self.base) or {}

    @property
    def optimizer(self) -> str:
        """Its name."""
        return str(self.section("train").get("optimizer"))

    @property
    def added(self) -> list[str]:
        """The terms with a weight of their own, besides that of the labels."""
        return [name for name, weight in self.weights.items() if weight and name != "bce"]

    @property
    def held(self) -> list[str]:
        """The terms with a share."""
        return list(self.section("distill").get("balance") or {})

    @property
    def is_vanilla(self) -> bool:
        """Whether nothing but the labels taught the student."""
        return self.method == VANILLA and not self.added and not self.held

    @property
    def base_of_batch(self) -> float:
        """What the loss of a batch's labels counts in the loss, where its mean over the images counts 1."""
        method = load_method(self.method)
        # Another base loss has the weight of the cross-entropy, whose place it takes.
        weight = self.weights.get("bce", method.terms.get("bce", 1.0))
        form = self.section("distill").get("form") or method.form
        if form in ("paper", "literal"):
            return weight
        batch_size: int = self.section("train")["batch_size"]
        return weight * batch_size


def compare(run: Run) -> Comparison | None:
    """The comparison with a finished vanilla run next to this one: of the same seed if there is one, else any.

    None where there is no such run, or where the run itself is one.
    """
    recipe = WrittenRecipe.of(run)
    if recipe.is_vanilla:
        return None
    return _compared(run, recipe, run.results.map_percent)


def weak_teacher_before(run: Run, recipe: Recipe, teacher: TeacherFacts) -> str | None:
    """What is known of a teacher before it teaches: that it is too weak, or that its figures are missing; else None.

    Args:
        run: the student's, not trained yet; a finished vanilla run next to it tells what the student learns alone.
        recipe: the student's.
        teacher: with the figures of its own run.
    """
    if teacher.scored_on is None:
        return (
            f"whether the teacher is better than what it teaches is not known: {teacher.run} has no figures on these "
            "images; a run folder that was trained on this data has them"
        )
    alone = _compared(run, WrittenRecipe(recipe.model_dump()), 0.0)
    if alone is None:
        return None
    results = alone.baseline.results
    teacher_map = teacher.map_percent_on(results.scored_on)
    if teacher_map is None:
        return None
    other = f"of the student alone ({alone.baseline.path.name}) on the {results.scored_on} images"
    return weakness(teacher_map, results.map_percent, other)


def verdict(run: Run) -> str | None:
    """The comparison in one sentence; None for a vanilla run."""
    recipe = WrittenRecipe.of(run)
    if recipe.is_vanilla:
        return None
    results = run.results
    question = "did the method help?"
    if results.teacher is not None:
        question = "did the teacher help?"
    comparison = _compared(run, recipe, results.map_percent)
    if comparison is None:
        command = _baseline_command(run, recipe)
        return f"{question} no vanilla run of this student, data and budget next to it; to make one: {command}"
    difference = number(abs(comparison.gain_points))
    name = comparison.baseline.path.name
    answer = f"no: {difference} mAP less than {name}"
    if comparison.gain_points > 0:
        answer = f"yes: {difference} mAP more than {name}"
    times = _times_the_steps(run, comparison.baseline)
    if times is not None and round(times, 1) != 1:
        answer += f" in {number(times, 1)} times as many steps"
    seeds = "ANOTHER seed"
    if comparison.same_seed:
        seeds = "the same seed"
    return f"{question} {answer} ({seeds}; one run each: seeds alone differ by points)"


def _times_the_steps(run: Run, baseline: Run) -> float | None:
    """How many steps a run made for each of another one; None where one of them has no log that can be read.

    A budget of epochs is more steps where each repeats images of the last one (DLB).
    """
    try:
        epochs, others = run.epochs, baseline.epochs
    except UsageError:
        return None
    if not epochs or not others:
        return None
    return epochs[-1].step / others[-1].step


def _compared(run: Run, recipe: WrittenRecipe, map_percent: float) -> Comparison | None:
    same_seed: list[Comparison] = []
    other_seed: list[Comparison] = []
    for other in _finished_runs_next_to(run):
        baseline = WrittenRecipe.of(other)
        if not _is_baseline(baseline, recipe) or not _has_same_images(run, other):
            continue
        try:
            gain_points = map_percent - other.results.map_percent
        except UsageError:
            # Another run's damaged results are not this one's fault.
            continue
        if baseline.seed == recipe.seed:
            same_seed.append(Comparison(other, gain_points, same_seed=True))
        else:
            other_seed.append(Comparison(other, gain_points, same_seed=False))
    return next(iter(same_seed + other_seed), None)


def _finished_runs_next_to(run: Run) -> list[Run]:
    """By name of their folders."""
    runs = []
    for path in sorted(run.path.resolve().parent.glob(f"*/{RECIPE_FILE}")):
        other = Run(path.parent)
        if other.finished:
            runs.append(other)
    return runs


def _is_baseline(baseline: WrittenRecipe, recipe: WrittenRecipe) -> bool:
    if not baseline.is_vanilla:
        return False
    for name in SHARED:
        if baseline.shared(name) != recipe.shared(name):
            return False
    if (baseline.base, baseline.base_options) != (recipe.base, recipe.base_options):
        return False
    if recipe.optimizer != "sgd":
        # Adam divides by the gradient's size, so that the scale of the loss is no part of the rate.
        return True
    ratio = baseline.base_of_batch / recipe.base_of_batch
    return 1 / SAME_RATE < ratio < SAME_RATE


def _has_same_images(run: Run, other: Run) -> bool:
    """Whether two runs on data of one path had the same images in the same splits, as far as both have listed them."""
    try:
        listed, others = ImageList.load(run.path), ImageList.load(other.path)
    except UsageError:
        # Another run's damaged list is not this one's fault.
        return False
    return listed is None or others is None or set(listed.images) == set(others.images)


def _baseline_command(run: Run, recipe: WrittenRecipe) -> str:
    """A command that trains the baseline."""
    settings = ["--set", "distill.method=vanilla"]
    if recipe.method == VANILLA:
        # Only another method drops what was added.
        for name in recipe.held:
            settings += ["--set", f"distill.balance.{name}=null"]
        for name in recipe.added:
            settings += ["--set", f"distill.terms.{name}=0"]
    if recipe.optimizer == "sgd" and recipe.base_of_batch < SAME_RATE:
        settings += ["--set", "distill.form=paper"]
    # Another method drops all options, also those of the base loss, and keeps the choice of that loss.
    for name, value in recipe.base_options.items():
        settings += ["--set", f"distill.options.{recipe.base}.{name}={value}"]
    out = run.path.with_name(f"{run.path.name}-vanilla")
    return shlex.join(["mlkdc", "distill", "--recipe", str(run.path / RECIPE_FILE), *settings, "--out", str(out)])
