"""Did the teacher help? A run beside the plain training of the same student on the same data and budget."""

import shlex
from dataclasses import dataclass
from typing import Any

import yaml

from mlkdc.methods import load_method
from mlkdc.train.runs import Run

#: What two runs must share to be compared: the student, the data and its views, and the budget.
SHARED = ("student", "data", "train")
PLAIN = "vanilla"


@dataclass(frozen=True)
class Comparison:
    """A run's mAP minus a plain run's, in points.

    Args:
        baseline: the plain run.
        gain: of the run over it; negative where the method did harm.
        same_seed: whether both have one seed. Without it the difference holds the seeds' as well.
    """

    baseline: Run
    gain: float
    same_seed: bool


def compare(run: Run) -> Comparison | None:
    """The comparison with a finished vanilla run beside this one, of the same seed if there is one, else any.

    None where there is no such run, or where the run itself is one.
    """
    own = _recipe(run)
    if _is_plain(own):
        return None
    beside = [(other, _recipe(other)) for other in _beside(run)]
    found = [(recipe["seed"] == own["seed"], other) for other, recipe in beside if _is_baseline(own, recipe)]
    if not found:
        return None
    same_seed, best = min(found, key=lambda item: (not item[0], item[1].path.name))
    return Comparison(best, run.results["metrics"]["mAP"] - best.results["metrics"]["mAP"], same_seed)


def _beside(run: Run) -> list[Run]:
    folders = sorted(path.parent for path in run.path.resolve().parent.glob("*/results.json"))
    return [other for other in map(Run, folders) if other.finished and (other.path / "recipe.yaml").is_file()]


def _recipe(run: Run) -> dict[str, Any]:
    # As written, not checked: a run of another version that has other keys is another budget, not a fault.
    values: dict[str, Any] = yaml.safe_load((run.path / "recipe.yaml").read_text())
    return values


def _is_plain(recipe: dict[str, Any]) -> bool:
    distill = recipe.get("distill") or {}
    return distill.get("method") == PLAIN and not {k for k, v in (distill.get("terms") or {}).items() if v} - {"bce"}


def _bce_scale(recipe: dict[str, Any]) -> float:
    """What one image's cross-entropy counts in the loss."""
    method, spec = load_method(recipe["distill"]["method"]), recipe["distill"]
    weight: float = (spec.get("terms") or {}).get("bce", method.terms.get("bce", 1.0))
    averaged = (spec.get("form") or method.form) != "reference"
    return weight / recipe["train"]["batch_size"] if averaged else weight


def _is_baseline(own: dict[str, Any], other: dict[str, Any]) -> bool:
    if not _is_plain(other) or any(own[key] != other.get(key) for key in SHARED):
        return False
    # Adam divides by the gradient's size; for SGD another scale of the loss is another learning rate.
    ratio = _bce_scale(other) / _bce_scale(own)
    return own["train"]["optimizer"] != "sgd" or 0.5 < ratio < 2


def _way(run: Run, own: dict[str, Any]) -> str:
    """A command that trains the plain run."""
    scale, batch = _bce_scale(own), own["train"]["batch_size"]
    settings = ["distill.method=vanilla"]
    settings += ["distill.form=paper"] if own["train"]["optimizer"] == "sgd" and scale < 2 / batch else []
    given = [part for setting in settings for part in ("--set", setting)]
    out = run.path.with_name(f"{run.path.name}-vanilla")
    return shlex.join(["mlkdc", "distill", "--recipe", str(run.path / "recipe.yaml"), *given, "--out", str(out)])


def verdict(run: Run) -> str | None:
    """The comparison in one sentence; None for a vanilla run."""
    own = _recipe(run)
    if _is_plain(own):
        return None
    asked = "did the teacher help?" if run.results["teacher"] else "did the method help?"
    found = compare(run)
    if found is None:
        return f"{asked} no vanilla run of this student, data and budget beside it; to make one: {_way(run, own)}"
    name, gain = found.baseline.path.name, found.gain
    answer = f"yes: {gain:.2f} mAP more than {name}" if gain > 0 else f"no: {-gain:.2f} mAP less than {name}"
    seeds = "the same seed" if found.same_seed else "ANOTHER seed"
    return f"{asked} {answer} ({seeds}; one run each: seeds alone differ by points)"
