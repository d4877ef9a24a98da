"""The int8 guard: quantize, compare, and while accuracy is lost, give up a little speed.

The candidates are in the order of what they cost on the device. Ranges and biases cost nothing there, so they come
first. Each layer in floating point costs time: the first and the last see the pixels and decide the answer; the head is
small next to the backbone; the most sensitive layers of the backbone are the last resort.

Making and comparing an artifact takes minutes, and simulating one in torch seconds. So only the first candidate is made
in any case; of the others the first that should hold by the simulation, scaled to what the last artifact really lost.

Limits that are just held on the images compared break on others. So a step is enough if it uses half of what is
allowed; where none does, one that uses more is taken.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from mlkdc.errors import MlkdcError
from mlkdc.exporting.int8.choice import MARGIN, choose, loss, with_margin
from mlkdc.exporting.int8.promise import Answered
from mlkdc.exporting.job import Quantization
from mlkdc.exporting.stranger import Judgement
from mlkdc.figures import drop_words
from mlkdc.records.parity import LadderStep, Parity, ParityFigures

# Fractions of the backbone's layers that stay in floating point, the most sensitive ones first.
FRACTIONS = (0.1, 0.3)
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
        fine_tune: makes the weights for settings that are ``fine_tuned``; None where that is not wanted.
    """

    first: Quantization
    modules: list[str]
    sensitivity: Callable[[], dict[str, float]]
    simulate: Callable[[Quantization], float]
    build: Callable[[Quantization], Judgement]
    say: Callable[[str], None]
    fast: bool = False
    fine_tune: Callable[[], None] | None = None


@dataclass(frozen=True)
class Attempt:
    """One step: the settings as ``build`` was given them, its record, and how its answers compare."""

    how: Quantization
    step: LadderStep
    judgement: Judgement

    @property
    def parity(self) -> Parity:
        """How it compares with the torch model."""
        return self.judgement.parity


@dataclass(frozen=True)
class Candidate:
    """Settings that may be built: their name, and how much they change the answers by the simulation."""

    name: str
    how: Quantization
    change: float


@dataclass(frozen=True)
class Climbed:
    """What came of the ladder.

    Args:
        how: the settings of the step that was chosen, as ``build`` was given them.
        chosen: that step's name.
        steps: all that were made, with their figures.
        answered: those that gave probabilities.
    """

    how: Quantization
    chosen: str
    steps: tuple[LadderStep, ...]
    answered: tuple[Answered, ...]


def climb(ladder: Ladder) -> Climbed:
    """Quantize, and try other settings until the comparison is within tolerance with a margin.

    Scales are per output channel from the start: on no runtime here is that slower than one per layer. Then: another
    estimator of the ranges, biases corrected for what rounding adds, the first and last layer in floating point, the
    head, the most sensitive layers. Each adds to the one before, but for the estimator and the biases, which stay as
    they were where the simulation says that this changes the answers less. Candidates of which the simulation says
    that they will lose far too much are passed over, but for the last one. Where no step holds, and that is wanted, the
    weights are fine-tuned for int8.

    Raises:
        MlkdcError: already the first step could not be made; a later one is skipped.

    Returns:
        The step that :func:`~mlkdc.exporting.int8.choice.choose` takes of those made.
    """
    attempts = [_attempt(ladder, "per channel, smallest to largest", ladder.first, is_first=True)]
    if not with_margin(attempts[0].parity):
        _try_others(ladder, attempts)
    if not any(attempt.step.passed for attempt in attempts):
        _try_fine_tuned(ladder, attempts)
    chosen = attempts[choose([attempt.parity for attempt in attempts])]
    steps = tuple(attempt.step for attempt in attempts)
    return Climbed(chosen.how, chosen.step.step, steps, tuple(_answered(attempts)))


def _answered(attempts: list[Attempt]) -> Iterator[Answered]:
    for attempt in attempts:
        # Without figures the answers are no probabilities, which nothing would choose.
        if attempt.judgement.answers is not None and attempt.step.figures is not None:
            yield Answered(attempt.step.step, attempt.judgement.answers)


def _try_others(ladder: Ladder, attempts: list[Attempt]) -> None:
    """Append attempts until one passes with a margin or none is left."""
    plain = Candidate(attempts[0].step.step, ladder.first, ladder.simulate(ladder.first))
    rate = _rate(plain, attempts[0], 0.0)
    last = None
    for candidate in candidates(ladder, plain.change):
        last = candidate
        # Once a step holds, one that costs more is worth its time only if it promises the margin.
        most = MARGIN if any(attempt.step.passed for attempt in attempts) else HOPELESS
        if candidate.change * rate > most:
            ladder.say(f"  int8, {candidate.name}: passed over, a simulation says that it would lose too much")
            continue
        last = None
        attempts.append(_attempt(ladder, candidate.name, candidate.how, is_first=False))
        if with_margin(attempts[-1].parity):
            return
        rate = _rate(candidate, attempts[-1], rate)
    # A simulation is no proof: what keeps most in float is tried in any case, before int8 is given up.
    if last is not None and not any(attempt.step.passed for attempt in attempts):
        attempts.append(_attempt(ladder, last.name, last.how, is_first=False))


def _try_fine_tuned(ladder: Ladder, attempts: list[Attempt]) -> None:
    """Append attempts with fine-tuned weights: all in int8, and then as the step that lost least."""
    if ladder.fine_tune is None:
        return
    ladder.say("  int8: fine-tuning, as no step holds its limits")
    try:
        ladder.fine_tune()
    except MlkdcError as error:
        ladder.say(f"  int8, fine-tuned: could not be made: {error}")
        return
    best = attempts[choose([attempt.parity for attempt in attempts])]
    how = replace(best.how, correct_biases=False, keep=(), fine_tuned=True)
    attempts.append(_attempt(ladder, "fine-tuned", how, is_first=False))
    if best.how.keep and not attempts[-1].step.passed:
        how = replace(how, keep=best.how.keep)
        attempts.append(_attempt(ladder, f"fine-tuned, {best.step.step}", how, is_first=False))


def _rate(candidate: Candidate, attempt: Attempt, before: float) -> float:
    """What was lost really for what was changed in the simulation; as before where the answers were not finite."""
    lost = loss(attempt.parity)
    if lost == float("inf"):
        return before
    return lost / max(candidate.change, 1e-9)


def candidates(ladder: Ladder, plain_change: float) -> Iterator[Candidate]:
    """What follows the first step, in the order of what it costs on the device; each is simulated when it is asked for.

    Args:
        ladder: of which nothing is built.
        plain_change: how much the first step's settings change the answers.
    """
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
    others = [name for name in measured if name not in keep and not name.startswith("head.")]
    ranked = sorted(others, key=lambda name: -measured[name])
    for fraction in FRACTIONS:
        count = max(1, round(fraction * len(ranked)))
        yield f"the most sensitive {fraction:.0%} in float", (*keep, *ranked[:count])


def _attempt(ladder: Ladder, name: str, how: Quantization, *, is_first: bool) -> Attempt:
    try:
        judgement = ladder.build(how)
    except MlkdcError as error:
        if is_first:
            raise
        # A converter can refuse one mixture of precisions and take the next.
        judgement = Judgement(Parity(passed=False, reason=f"could not be made: {error}"))
    parity = judgement.parity
    step = LadderStep(
        step=name,
        clip=how.clip,
        correct_biases=how.correct_biases,
        keep=how.keep,
        passed=bool(parity.passed),
        reason=parity.reason,
        figures=parity.figures,
    )
    ladder.say(f"  int8, {name}: {_verdict(step, parity)}")
    return Attempt(how, step, judgement)


def _verdict(step: LadderStep, parity: Parity) -> str:
    """What the step lost, and whether that is good enough, in one line."""
    verdict = "ok"
    if step.passed and not with_margin(parity):
        verdict = f"ok, with more than {MARGIN:.0%} of what is allowed"
    if not step.passed:
        verdict = f"not enough ({step.reason})"
    if step.figures is None:
        return verdict
    return f"{_drops(step.figures)}; {verdict}"


def _drops(figures: ParityFigures) -> str:
    text = f"mAP {drop_words(figures.map_drop_points)}"
    if figures.worst_class is None:
        return text
    return f"{text}, worst class: {figures.worst_class} {drop_words(figures.worst_class_drop_points)}"
