"""The int8 guard: quantize, compare, and while accuracy is lost, give up a little speed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from mlkdc.errors import MlkdcError
from mlkdc.exporting.formats import Quantization

# Shares of the layers that stay in floating point, the most sensitive ones first.
SHARES = (0.1, 0.3)
FIGURES = ("mAP_artifact", "mAP_drop", "worst_class", "worst_class_drop", "label_flips", "max_probability_difference")


@dataclass(frozen=True)
class Climb:
    """What the ladder needs of the model.

    Args:
        first: calibration pictures and what holds for all steps; per channel, nothing clipped or kept.
        modules: dotted names of all convolutions and linear layers, in the order they run.
        sensitivity: how much each of them alone changes the answers when quantized; called only if it comes to that.
        build: makes and compares an artifact; returns the ``parity`` entry of its manifest.
        say: called with one line for each step.
    """

    first: Quantization
    modules: list[str]
    sensitivity: Callable[[], dict[str, float]]
    build: Callable[[Quantization], dict[str, Any]]
    say: Callable[[str], None]


def climb(ladder: Climb) -> tuple[Quantization, list[dict[str, Any]]]:
    """Quantize, and go on to the next step while the comparison is out of tolerance.

    Scales are per output channel from the start: on no runtime here is that slower than one per layer. Then: another
    estimator of the ranges, biases corrected for what rounding adds, the first and last layer in floating point, the
    head, the most sensitive layers. Each step adds to the one before, but for the estimator and the biases, which stay
    as they were where that lost less.

    Raises:
        MlkdcError: already the first step could not be made; one that comes later is passed over.

    Returns:
        The settings that were built last or, where no step held, those that lost least, as ``build`` was given them;
        and the steps with their figures.
    """
    steps: list[dict[str, Any]] = []
    tried: list[Quantization] = []
    losses: list[float] = []

    def attempt(name: str, how: Quantization) -> bool:
        try:
            parity = ladder.build(how)
        except MlkdcError as error:
            if not steps:
                raise
            # The steps after it may be possible.
            parity = {**dict.fromkeys(FIGURES), "passed": False, "reason": f"could not be made: {error}"}
        tried.append(how)
        losses.append(_loss(parity))
        steps.append(_step(name, how, parity))
        figures = _figures(steps[-1]) + ": " if parity["mAP_drop"] is not None else ""
        ladder.say(f"  int8, {name}: {figures}{'ok' if parity['passed'] else _breach(parity)}")
        return bool(parity["passed"])

    if attempt("per channel, smallest to largest", ladder.first):
        return ladder.first, steps
    if attempt("outliers clipped", replace(ladder.first, clip=True)):
        return tried[-1], steps
    how = replace(ladder.first, clip=losses[1] < losses[0])
    if attempt("biases corrected", replace(how, correct=True)):
        return tried[-1], steps
    how = replace(how, correct=losses[2] < min(losses[:2]))
    for name, keep in _kept(ladder):
        before, how = how, replace(how, keep=keep)
        if all(before.keeps(module) for module in ladder.modules if how.keeps(module)):
            continue  # a linear head is the last layer
        if attempt(name, how):
            return how, steps
    return tried[min(range(len(steps)), key=lambda index: losses[index])], steps


def _kept(ladder: Climb) -> Any:
    """(name of the step, modules in floating point), each step with those of the one before."""
    keep = tuple(dict.fromkeys((ladder.modules[0], ladder.modules[-1])))
    yield "first and last layer in float", keep
    keep = (ladder.modules[0], "head")
    yield "head in float", keep
    measured = ladder.sensitivity()
    rest = [name for name in measured if name not in keep and not name.startswith("head.")]
    ranked = sorted(rest, key=lambda name: -measured[name])
    for share in SHARES:
        count = max(1, round(share * len(ranked)))
        yield f"the most sensitive {share:.0%} in float", (*keep, *ranked[:count])


def _loss(parity: dict[str, Any]) -> float:
    """How many times the allowed fall, of mAP or of the worst class; a model without finite answers lost everything."""
    if parity["mAP_drop"] is None:
        return float("inf")
    allowed = parity["tolerance"]
    falls = (parity["mAP_drop"], allowed["map"]), (parity["worst_class_drop"], allowed["class_ap"])
    return max(fall / max(limit, 0.01) for fall, limit in falls)


def _step(name: str, how: Quantization, parity: dict[str, Any]) -> dict[str, Any]:
    return {
        "step": name,
        "clip": how.clip,
        "correct": how.correct,
        "keep": list(how.keep),
        **{key: parity.get(key) for key in FIGURES},
        "passed": parity["passed"],
        "reason": parity["reason"],
    }


def _figures(step: dict[str, Any]) -> str:
    worst = "" if step["worst_class"] is None else f", {step['worst_class']} by {step['worst_class_drop']:.2f}"
    return f"mAP falls by {step['mAP_drop']:.2f}{worst}"


def _breach(parity: dict[str, Any]) -> str:
    return f"not enough ({parity['reason']})"
