"""Tables of exported artifacts: how close they are to the torch model, and how they were made."""

from collections.abc import Mapping
from dataclasses import dataclass

from mlkdc.figures import DASH, megabytes, number, scaled, scientific
from mlkdc.records.manifest import Manifest, MergeReport
from mlkdc.records.parity import LadderStep, ParityFigures, QuantizationReport, Tolerance
from mlkdc.tables import Table

#: In capitals, because such an artifact must not be shipped.
FAILED = "FAILED"


@dataclass(frozen=True)
class Ladder:
    """What was tried for one int8 artifact, step by step, until the drop was small enough, and what came of it."""

    name: str
    table: Table
    facts: list[tuple[str, str]]


@dataclass(frozen=True)
class Merge:
    """What re-parameterization did to artifacts that were merged alike."""

    names: list[str]
    facts: list[tuple[str, str]]
    table: Table


def artifact_table(artifacts: Mapping[str, Manifest]) -> Table:
    """What was exported, and how it compares with the torch model."""
    head = ["artifact", "parity", "images", "largest difference", "label flips", "mAP torch, %", "mAP artifact, %"]
    head += ["worst class, drop in points", "size, MB", "runtime", "input"]
    rows = []
    for name, manifest in artifacts.items():
        rows.append(
            [
                name,
                _verdict(manifest),
                *_parity_cells(manifest),
                megabytes(manifest.size_bytes),
                manifest.runtime,
                _input_text(manifest),
            ]
        )
    return Table(head, rows, "llrrrrrrrll")


def _verdict(manifest: Manifest) -> str:
    if manifest.status == "failed":
        return FAILED
    return manifest.status


def _parity_cells(manifest: Manifest) -> list[str]:
    """Images, largest difference, label flips, mAP of torch and artifact, worst class."""
    comparison = manifest.parity.comparison
    if comparison is None:
        return [DASH] * 6
    images, map_torch = number(comparison.images, 0), number(comparison.map_torch_percent)
    figures = comparison.figures
    # NaN or infinity: what torch had is known all the same.
    if figures is None:
        return [images, DASH, DASH, map_torch, DASH, DASH]
    return [
        images,
        scientific(figures.max_probability_difference),
        number(figures.label_flips, 0),
        map_torch,
        number(figures.map_artifact_percent),
        _worst_class(figures),
    ]


def _worst_class(figures: ParityFigures) -> str:
    """The class whose AP dropped most, and by how much."""
    if figures.worst_class is None:
        return DASH
    return f"{number(figures.worst_class_drop_points)} {figures.worst_class}"


def _input_text(manifest: Manifest) -> str:
    batch = "1"
    if manifest.dynamic_batch:
        batch = "n"
    sides = [batch, *map(str, manifest.input.shape[1:])]
    return f"{manifest.input.dtype} {'×'.join(sides)}"


def ladders(artifacts: Mapping[str, Manifest]) -> list[Ladder]:
    """How each int8 artifact was quantized."""
    head = ["step", "layers in float", "mAP, %", "drop of mAP, points", "worst class, drop in points", "enough"]
    shown = []
    for name, manifest in artifacts.items():
        if manifest.quantization is not None and manifest.quantization.steps:
            rows = [_ladder_row(step) for step in manifest.quantization.steps]
            facts = _ladder_facts(manifest, manifest.quantization)
            shown.append(Ladder(name, Table(head, rows, "llrrrl"), facts))
    return shown


def _ladder_facts(manifest: Manifest, report: QuantizationReport) -> list[tuple[str, str]]:
    facts = [("calibrated on", report.calibration.which)]
    if report.chosen is not None:
        facts.append(("chosen", report.chosen))
    if manifest.fine_tuning is not None:
        facts.append(("weights", manifest.fine_tuning.sentence()))
    if manifest.promise is not None:
        facts.append(("on other images", manifest.promise.sentence()))
    return facts


def _ladder_row(step: LadderStep) -> list[str]:
    enough = "no"
    if step.passed:
        enough = "yes"
    kept = ", ".join(step.keep) or "none"
    figures = step.figures
    if figures is None:
        return [step.step, kept, DASH, DASH, DASH, enough]
    return [
        step.step,
        kept,
        number(figures.map_artifact_percent),
        number(figures.map_drop_points),
        _worst_class(figures),
        enough,
    ]


def tolerances(artifacts: Mapping[str, Manifest]) -> list[str]:
    """What the targets allowed, one sentence for all artifacts with equal limits."""
    names_by_tolerance: dict[Tolerance, list[str]] = {}
    for name, manifest in artifacts.items():
        comparison = manifest.parity.comparison
        if comparison is not None:
            names_by_tolerance.setdefault(comparison.tolerance, []).append(name)
    sentences = []
    for tolerance, names in names_by_tolerance.items():
        sentences.append(
            f"Allowed to differ for {', '.join(names)}: probability by {tolerance.probability:g}, "
            f"{tolerance.label_flips_percent:g} % of the decisions, mAP by {tolerance.map_drop_points:g} points, "
            f"the worst class's AP by {tolerance.class_drop_points:g} points."
        )
    return sentences


def merges(artifacts: Mapping[str, Manifest]) -> list[Merge]:
    """What re-parameterization did; artifacts that were merged alike are listed together."""
    names_by_merge: dict[MergeReport, list[str]] = {}
    for name, manifest in artifacts.items():
        names_by_merge.setdefault(manifest.merge, []).append(name)
    return [Merge(names, _merge_facts(merge), _merge_table(merge)) for merge, names in names_by_merge.items()]


def _merge_facts(merge: MergeReport) -> list[tuple[str, str]]:
    normalization = "kept as operations"
    if merge.normalization:
        normalization = "scale in the first convolution"
    head = "nothing to fold"
    if merge.head:
        head = "what depends on its queries alone is computed once"
    return [
        ("parallel branches merged", number(merge.branches, 0)),
        ("convolution + batch norm", number(merge.conv_bn, 0)),
        ("input normalization", normalization),
        ("head", head),
        ("largest logit difference", scientific(merge.max_logit_difference)),
    ]


def _merge_table(merge: MergeReport) -> Table:
    before, after = merge.before, merge.after
    counts = [
        ("backbone", before.params_backbone, after.params_backbone, before.macs_backbone, after.macs_backbone),
        ("head", before.params_head, after.params_head, before.macs_head, after.macs_head),
        ("whole model", before.params, after.params, before.macs, after.macs),
    ]
    rows = [[title, *map(scaled, sizes)] for title, *sizes in counts]
    return Table(["", "parameters before", "after", "multiply-adds before", "after"], rows, "lrrrr")
