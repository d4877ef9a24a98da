"""The int8 guard: quantize, compare, and while accuracy is lost, give up a little speed.

The steps of the ladder are in the order of what they cost on the device. Ranges and biases cost nothing there, so they
come first. Each layer in floating point costs time: the first and the last see the pixels and decide the answer; the
head is small next to the backbone; the most sensitive layers of the backbone are the last resort.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from mlkdc.errors import MlkdcError
from mlkdc.exporting.job import Quantization
from mlkdc.figures import number
from mlkdc.records.parity import LadderStep, Parity, ParityFigures

# Fractions of the backbone's layers that stay in floating point, the most sensitive ones first.
FRACTIONS = (0.1, 0.3)
# A limit of zero would make every loss infinite, and all steps equally bad.
SMALLEST_LIMIT_POINTS = 0.01


@dataclass(frozen=True)
class Ladder:
    """What the guard needs of the model.

    Args:
        first: calibration images and what holds for all steps; per channel, nothing clipped or kept.
        modules: dotted names of all convolutions and linear layers, in the order they run.
        sensitivity: how much each of them alone changes the answers when quantized; called only if it comes to that.
        build: makes and compares an artifact.
        say: called with one line for each step.
    """

    first: Quantization
    modules: list[str]
    sensitivity: Callable[[], dict[str, float]]
    build: Callable[[Quantization], Parity]
    say: Callable[[str], None]


@dataclass(frozen=True)
class Attempt:
    """One step: the settings as ``build`` was given them, its record, and how bad it was (0 is perfect)."""

    how: Quantization
    step: LadderStep
    loss: float


def climb(ladder: Ladder) -> tuple[Quantization, tuple[LadderStep, ...]]:
    """Quantize, and try the next step while the comparison is out of tolerance.

    Scales are per output channel from the start: on no runtime here is that slower than one per layer. Then: another
    estimator of the ranges, biases corrected for what rounding adds, the first and last layer in floating point, the
    head, the most sensitive layers. Each step adds to the one before, but for the estimator and the biases, which stay
    as they were where that lost less.

    Raises:
        MlkdcError: already the first step could not be made; a later one is skipped.

    Returns:
        The settings that were built last or, where no step held, those that lost least, as ``build`` was given them;
        and the steps with their figures.
    """
    attempts: list[Attempt] = []
    for name, how in _steps(ladder, attempts):
        attempts.append(_attempt(ladder, name, how, is_first=not attempts))
        if attempts[-1].step.passed:
            break
    steps = tuple(attempt.step for attempt in attempts)
    if steps[-1].passed:
        return attempts[-1].how, steps
    return min(attempts, key=lambda attempt: attempt.loss).how, steps


def _steps(ladder: Ladder, attempts: list[Attempt]) -> Iterator[tuple[str, Quantization]]:
    """The name and settings of each step, which follow from ``attempts``: those of the steps before it."""
    how = ladder.first
    yield "per channel, smallest to largest", how
    yield "outliers clipped", replace(how, clip=True)
    plain, clipped = attempts
    # Which estimator is better depends on the model: clipping saves resolution where outliers are rare, and costs the
    # answer where they carry it. The better one is kept for all that follows, even if it is not good enough.
    if clipped.loss < plain.loss:
        how = clipped.how
    yield "biases corrected", replace(how, correct_biases=True)
    # Correction helps little where the rounding is not biased, and what it measures is noisy: it must earn its place.
    if attempts[-1].loss < min(plain.loss, clipped.loss):
        how = replace(how, correct_biases=True)
    for name, keep in _kept(ladder):
        wider = replace(how, keep=keep)
        adds_nothing = all(how.keeps(module) for module in ladder.modules if wider.keeps(module))
        how = wider
        if not adds_nothing:  # as where a linear head is the last layer
            yield name, how


def _kept(ladder: Ladder) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The name of a step and the modules in floating point, which include those of the step before."""
    first, last = ladder.modules[0], ladder.modules[-1]
    yield "first and last layer in float", tuple(dict.fromkeys((first, last)))
    keep = (first, "head")
    yield "head in float", keep
    # Only now, for it takes a pass over the images for each layer.
    measured = ladder.sensitivity()
    candidates = [name for name in measured if name not in keep and not name.startswith("head.")]
    ranked = sorted(candidates, key=lambda name: -measured[name])
    for fraction in FRACTIONS:
        count = max(1, round(fraction * len(ranked)))
        yield f"the most sensitive {fraction:.0%} in float", (*keep, *ranked[:count])


def _attempt(ladder: Ladder, name: str, how: Quantization, *, is_first: bool) -> Attempt:
    try:
        parity = ladder.build(how)
    except MlkdcError as error:
        if is_first:
            raise
        # A converter can refuse one mixture of precisions and take the next.
        parity = Parity(passed=False, reason=f"could not be made: {error}")
    step = LadderStep(
        step=name,
        clip=how.clip,
        correct_biases=how.correct_biases,
        keep=how.keep,
        passed=bool(parity.passed),
        reason=parity.reason,
        figures=parity.figures,
    )
    ladder.say(f"  int8, {name}: {_verdict(step)}")
    return Attempt(how, step, _loss(parity))


def _loss(parity: Parity) -> float:
    """How many times the allowed drop, of mAP or of the worst class; without finite answers everything is lost."""
    if parity.comparison is None or parity.comparison.figures is None:
        return float("inf")
    figures, allowed = parity.comparison.figures, parity.comparison.tolerance
    map_loss = figures.map_drop_points / max(allowed.map_drop_points, SMALLEST_LIMIT_POINTS)
    class_loss = figures.worst_class_drop_points / max(allowed.class_drop_points, SMALLEST_LIMIT_POINTS)
    return max(map_loss, class_loss)


def _verdict(step: LadderStep) -> str:
    """What the step lost, and whether that is good enough, in one line."""
    verdict = "ok"
    if not step.passed:
        verdict = f"not enough ({step.reason})"
    if step.figures is None:
        return verdict
    return f"{_drops(step.figures)}; {verdict}"


def _drops(figures: ParityFigures) -> str:
    text = f"mAP drops by {number(figures.map_drop_points)}"
    if figures.worst_class is None:
        return text
    return f"{text}, worst class: {figures.worst_class} by {number(figures.worst_class_drop_points)}"
