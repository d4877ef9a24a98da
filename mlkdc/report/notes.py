"""What a reader must know before trusting a report's figures."""

from collections.abc import Mapping, Sequence, Set

from mlkdc.figures import counted, threads
from mlkdc.recipe import Distill
from mlkdc.records.bench import BenchFile, Verdict
from mlkdc.records.gradients import imbalances
from mlkdc.records.manifest import Manifest
from mlkdc.records.results import Epoch, Results
from mlkdc.records.shipping import is_of_earlier_files
from mlkdc.report.teacher import weak_teacher

MOST_NAMES = 6
#: What each verdict but ``stable`` says of timings, the worst first.
MEANINGS: dict[Verdict, str] = {
    "throttled": "Timings of a device that was throttled (verdict throttled)",
    "disturbed": "Timings that other work disturbed (verdict disturbed)",
    "unsettled": "Timings that were not steady yet (verdict unsettled)",
    "spread": "Timings that differ between processes (verdict spread)",
    "unknown": "Timings of which too little is known to rely on them (verdict unknown)",
}


def notes(
    results: Results,
    artifacts: Mapping[str, Manifest],
    unreadable: Mapping[str, str],
    bench: BenchFile | None,
    history: Sequence[Epoch],
    distill: Distill,
    quoted_run: str,
) -> tuple[str, ...]:
    """One plain sentence for each thing that makes a figure weaker than it looks; empty when nothing does.

    Args:
        unreadable: for each artifact that cannot be read, why and what to do.
        history: the training's epochs.
        distill: of the recipe.
        quoted_run: path of the run folder as it is typed in a shell.
    """
    sentences = _on_accuracy(results)
    for imbalance in imbalances(history, distill.base, distill.balance):
        sentences.append(f"In training {imbalance.sentence()}.")
    for name, reason in unreadable.items():
        sentences.append(f"{name} cannot be read and is not shown: {reason}.")
    for name, manifest in artifacts.items():
        sentences += _on_artifact(name, manifest, results)
    if bench is not None:
        sentences += _on_latency(bench, artifacts, quoted_run) + _on_gone(bench, {*artifacts, *unreadable})
    return tuple(sentences)


def _on_accuracy(results: Results) -> list[str]:
    sentences = []
    scored = results.scored_on
    if scored == results.thresholds_from:
        sentences.append(
            f"Thresholds were tuned and scored on the same split ({scored}): the tuned figures are optimistic."
        )
    if sentence := results.shared_threshold:
        sentences.append(f"{sentence}.")
    if scored in ("train", "val"):
        sentences.append(f"Scored on the {scored} split: the data has no test split.")
    if scored == results.chosen_on:
        sentences.append(f"The weights were chosen on the images they are scored on ({scored}): mAP is optimistic.")
    sentences += _on_constant_labels(results)
    if results.teacher is not None and results.teacher.leak is not None:
        sentences.append(f"{results.teacher.leak[:1].upper()}{results.teacher.leak[1:]}.")
    if sentence := weak_teacher(results):
        sentences.append(f"{sentence[:1].upper()}{sentence[1:]}.")
    skipped = len(results.data.skipped)
    if skipped == 1:
        sentences.append("1 file of the data was skipped on request (listed under Data).")
    elif skipped > 1:
        sentences.append(f"{skipped} files of the data were skipped on request (listed under Data).")
    return sentences


def _on_constant_labels(results: Results) -> list[str]:
    sentences = []
    scored = results.scored_on
    without_positive = [score.name for score in results.per_class if score.ap_percent is None]
    if without_positive:
        sentences.append(
            f"{len(without_positive)} of {len(results.per_class)} classes without a positive image in the {scored} "
            f"split, not counted in any mean over classes: {_listed(without_positive)}."
        )
    without_negative = [score.name for score in results.per_class if score.positives == results.images]
    if without_negative:
        sentences.append(
            f"{len(without_negative)} of {len(results.per_class)} classes are a label of every image of the {scored} "
            f"split; whatever a model answers, their AP is 100: {_listed(without_negative)}."
        )
    return sentences


def _on_artifact(name: str, manifest: Manifest, results: Results) -> list[str]:
    sentences = []
    reason = (manifest.parity.reason or "it differs from the torch model").rstrip(".")
    if manifest.status == "unverified":
        sentences.append(f"{name} was not run in its runtime at its export: {reason}.")
    elif manifest.status == "failed":
        sentences.append(f"{name} failed its parity check and must not be shipped: {reason}.")
    comparison = manifest.parity.comparison
    if comparison is not None and comparison.kept:
        sentences.append(f"{name} was compared on {comparison.which}.")
    if manifest.fine_tuning is not None:
        sentences.append(f"{name} was {manifest.fine_tuning.sentence()}.")
    if manifest.details.reduce_range is False:
        sentences.append(
            f"{name} has int8 weights in their full range: it is for Arm, and for x86 processors that have VNNI."
        )
    # The folder was trained again after the export.
    known = None not in (manifest.weights_sha256, results.weights_sha256)
    other_weights = known and manifest.weights_sha256 != results.weights_sha256
    if other_weights or manifest.recipe_hash != results.recipe_hash:
        sentences.append(f"{name} was exported from another training than the one shown here; export it again.")
    return sentences


def _on_latency(bench: BenchFile, artifacts: Mapping[str, Manifest], quoted_run: str) -> list[str]:
    sentences = _on_verdicts(bench) + _on_stop(bench, quoted_run)
    for lost in bench.lost:
        sentences.append(f"{lost.device} was lost after {counted(lost.after, 'turn')}: {lost.why.rstrip('.')}.")
    for row in bench.rows:
        if row.accuracy is not None and row.accuracy_missing is not None:
            sentences.append(f"{row.name} on {row.device}: {row.accuracy_missing}.")
        if row.photos_missing is not None:
            sentences.append(f"{row.name} on {row.device}: no photos timed: {row.photos_missing}.")
        if row.sustained_missing is not None:
            sentences.append(f"{row.name} on {row.device}: no sustained load: {row.sustained_missing}.")
    for name, device in bench.devices.items():
        sentences += [f"{name}: {note}" for note in device.notes]
    for name, manifest in artifacts.items():
        rows = [row for row in bench.rows if row.name == name and row.imported_from is None]
        if not rows:
            sentences.append(f"{name} has not been timed yet: run `mlkdc bench {quoted_run}`.")
        # A new export under an old name has the timings of a file that no longer exists.
        earlier = [row for row in rows if row.timing is not None and is_of_earlier_files(row, manifest, bench.when)]
        if earlier:
            timed_on = list(dict.fromkeys(row.device for row in earlier))
            where = f" on {_listed(timed_on)}" if len(bench.devices) > 1 else ""
            sentences.append(f"{name} was exported after it was timed: its latency{where} is of an earlier file.")
    return sentences


def _on_stop(bench: BenchFile, quoted_run: str) -> list[str]:
    """Of rows that lack turns although nothing speaks against them."""
    lost = {item.device for item in bench.lost}
    short = []
    for row in bench.rows:
        turns = row.timing.passes if row.timing is not None else 0
        asked = row.imported_from is None and row.skipped is None and row.device not in lost
        if asked and turns < bench.protocol.passes:
            short.append(f"{row.name} ({threads(row.threads)}, {row.device}; {turns})")
    if not short:
        return []
    return [
        f"The measurement was stopped: these rows had fewer turns than the {bench.protocol.passes} asked for: "
        f"{_listed(short)}; run `mlkdc bench {quoted_run}` again."
    ]


def _on_gone(bench: BenchFile, names: Set[str]) -> list[str]:
    """Of timed artifacts that are not among the run's."""
    gone = [row.name for row in bench.rows if row.of_artifact and row.timing is not None and row.name not in names]
    if not gone:
        return []
    return [f"Timed, and no artifact of the run any more: {_listed(list(dict.fromkeys(gone)))}."]


def _on_verdicts(bench: BenchFile) -> list[str]:
    """Which timings must not be relied on, by verdict, with what the first rests on; which answers differ."""
    names: dict[Verdict, list[str]] = {}
    reasons: dict[Verdict, str] = {}
    different = []
    for row in bench.rows:
        where = f"{row.name} ({threads(row.threads)}, {row.device})"
        if row.timing is not None and row.timing.verdict in MEANINGS and row.imported_from is None:
            names.setdefault(row.timing.verdict, []).append(where)
            reasons.setdefault(row.timing.verdict, row.timing.why)
        if row.answers_otherwise:
            different.append(where)
    sentences = []
    for verdict, meaning in MEANINGS.items():
        if verdict in names:
            which = "Why" if len(names[verdict]) == 1 else "Why, of the first"
            sentences.append(f"{meaning}: {_listed(names[verdict])}. {which}: {reasons[verdict]}.")
    if different:
        sentences.append(
            f"Answers differ from the torch model's by more than the export allowed: {_listed(different)}."
        )
    return sentences


def _listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    text = ", ".join(names[:MOST_NAMES])
    if len(names) > MOST_NAMES:
        text += f" and {len(names) - MOST_NAMES} more"
    return text
