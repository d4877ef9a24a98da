"""The int8 guard: quantize, compare, and while accuracy is lost, give up a little speed.

The candidates are in the order of what they cost on the device. Ranges and biases cost nothing there, so they come
first. Each layer in floating point costs time: the first and the last see the pixels and decide the answer; the head is
small next to the backbone; the most sensitive layers of the backbone are the last resort.

Making and comparing an artifact takes minutes, and simulating one in torch seconds. So only the first candidate is made
in any case; of the others the first that should hold by the simulation, scaled to what the last artifact really lost.
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
# A candidate is passed over where its predicted loss is more than this many times what is allowed: a simulation can be
# off by that much, and a candidate that costs nothing on the device is worth a try.
HOPELESS = 2.0


@dataclass(frozen=True)
class Ladder:
    """What the guard needs of the model.

    Args:
        first: calibration images and what holds for all steps; per channel, nothing clipped or kept.
        modules: dotted names of all convolutions and linear layers, in the order they run.
        sensitivity: how much each of them alone changes the answers when quantized; called at most once.
        simulate: how much settings change the answers, by a simulation.
        build: makes and compares an artifact.
        say: called with one line for each step.
        fast: leave out the candidates that need the sensitivities.
    """

    first: Quantization
    modules: list[str]
    sensitivity: Callable[[], dict[str, float]]
    simulate: Callable[[Quantization], float]
    build: Callable[[Quantization], Parity]
    say: Callable[[str], None]
    fast: bool = False


@dataclass(frozen=True)
class Attempt:
    """One step: the settings as ``build`` was given them, its record, and how bad it was (0 is perfect, 1 allowed)."""

    how: Quantization
    step: LadderStep
    loss: float


@dataclass(frozen=True)
class Candidate:
    """Settings that may be built: their name, and how much they change the answers by the simulation."""

    name: str
    how: Quantization
    change: float


def climb(ladder: Ladder) -> tuple[Quantization, tuple[LadderStep, ...]]:
    """Quantize, and try other settings while the comparison is out of tolerance.

    Scales are per output channel from the start: on no runtime here is that slower than one per layer. Then: another
    estimator of the ranges, biases corrected for what rounding adds, the first and last layer in floating point, the
    head, the most sensitive layers. Each adds to the one before, but for the estimator and the biases, which stay as
    they were where the simulation says that this changes the answers less. Candidates of which the simulation says
    that they will lose far too much are passed over, but for the last one.

    Raises:
        MlkdcError: already the first step could not be made; a later one is skipped.

    Returns:
        The settings that were built last or, where no step held, those that lost least, as ``build`` was given them;
        and the steps with their figures.
    """
    attempts = [_attempt(ladder, "per channel, smallest to largest", ladder.first, is_first=True)]
    if not attempts[0].step.passed:
        _try_others(ladder, attempts)
    steps = tuple(attempt.step for attempt in attempts)
    if steps[-1].passed:
        return attempts[-1].how, steps
    return min(attempts, key=lambda attempt: attempt.loss).how, steps


def _try_others(ladder: Ladder, attempts: list[Attempt]) -> None:
    """Append attempts until one passes or none is left."""
    plain = Candidate(attempts[0].step.step, ladder.first, ladder.simulate(ladder.first))
    rate = _rate(plain, attempts[0], 0.0)
    last = None
    for candidate in _candidates(ladder, plain.change):
        last = candidate
        if candidate.change * rate > HOPELESS:
            ladder.say(f"  int8, {candidate.name}: passed over, a simulation says that it would lose too much")
            continue
        last = None
        attempts.append(_attempt(ladder, candidate.name, candidate.how, is_first=False))
        if attempts[-1].step.passed:
            return
        rate = _rate(candidate, attempts[-1], rate)
    # A simulation is no proof: what keeps most in float is tried in any case.
    if last is not None:
        attempts.append(_attempt(ladder, last.name, last.how, is_first=False))


def _rate(candidate: Candidate, attempt: Attempt, before: float) -> float:
    """What was lost really for what was changed in the simulation; as before where the answers were not finite."""
    if attempt.loss == float("inf"):
        return before
    return attempt.loss / max(candidate.change, 1e-9)


def _candidates(ladder: Ladder, plain_change: float) -> Iterator[Candidate]:
    """In the order of what they cost on the device; each is simulated when it is asked for."""
    plain, clipped = ladder.first, replace(ladder.first, clip=True)
    changes = {False: plain_change, True: ladder.simulate(clipped)}
    free = [Candidate("outliers clipped", clipped, changes[True])]
    # Which estimator is better depends on the model: clipping saves resolution where outliers are rare, and costs the
    # answer where they carry it.
    how = clipped if changes[True] < changes[False] else plain
    corrected = replace(how, correct_biases=True)
    change = ladder.simulate(corrected)
    # Correction helps little where the rounding is not biased, and what it measures is noisy: it must earn its place.
    if change < changes[how.clip]:
        how = corrected
        free.append(Candidate("biases corrected", corrected, change))
    # Both cost nothing on the device: the more promising one first.
    yield from sorted(free, key=lambda candidate: candidate.change)
    for name, keep in _kept(ladder):
        wider = replace(how, keep=keep)
        adds_nothing = all(how.keeps(module) for module in ladder.modules if wider.keeps(module))
        how = wider
        if not adds_nothing:  # as where a linear head is the last layer
            yield Candidate(name, how, ladder.simulate(how))


def _kept(ladder: Ladder) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The name of a step and the modules in floating point, which include those of the step before."""
    first, last = ladder.modules[0], ladder.modules[-1]
    yield "first and last layer in float", tuple(dict.fromkeys((first, last)))
    keep = (first, "head")
    yield "head in float", keep
    if ladder.fast:
        ladder.say("  int8: --fast leaves out the steps that keep the most sensitive layers in float")
        return
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
