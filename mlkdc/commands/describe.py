"""An artifact in a few lines: what was merged, and how equal it is to the torch model."""

from mlkdc.figures import drop_range, drop_words, number, scientific
from mlkdc.records.manifest import Manifest, MergeReport
from mlkdc.records.parity import Comparison, ParityFigures


def artifact_lines(manifest: Manifest) -> list[str]:
    """One line each for what was merged, the sizes of the parts, and the comparison with the torch model."""
    merge, parity = manifest.merge, manifest.parity
    before, after = merge.before, merge.after
    lines = [
        _merged(merge),
        _size("backbone", before.params_backbone, after.params_backbone, before.macs_backbone, after.macs_backbone),
        _size("head", before.params_head, after.params_head, before.macs_head, after.macs_head),
    ]
    if manifest.details.reduce_range is False:
        lines.append("int8 weights in the full range: for Arm, and for x86 processors that have VNNI")
    figures = parity.figures
    if parity.comparison is None or figures is None:
        return [*lines, f"{manifest.status}: {parity.reason}"]
    lines.append(f"{_compared(parity.comparison, figures)}: {manifest.status}")
    if manifest.status == "unverified":
        lines.append(parity.reason or "")
    if parity.comparison.note is not None:
        lines.append(parity.comparison.note)
    if manifest.fine_tuning is not None:
        lines.append(manifest.fine_tuning.sentence())
    if manifest.promise is not None:
        lines.append(f"on other images: {manifest.promise.sentence()}")
    return lines


def _merged(merge: MergeReport) -> str:
    normalization = "normalization kept as operations"
    if merge.normalization:
        normalization = "normalization into the first convolution"
    parts = [f"{merge.branches} branches", f"{merge.conv_bn} conv+BN", normalization]
    if merge.head:
        parts.append("head")
    return f"merged: {', '.join(parts)}; largest logit difference {scientific(merge.max_logit_difference)}"


def _size(part: str, params: int, params_after: int, macs: int, macs_after: int) -> str:
    return (
        f"{part}: parameters {params / 1e6:.2f} M -> {params_after / 1e6:.2f} M, "
        f"multiply-adds {macs / 1e6:.1f} M -> {macs_after / 1e6:.1f} M"
    )


def _compared(comparison: Comparison, figures: ParityFigures) -> str:
    parts = [
        f"largest probability difference {scientific(figures.max_probability_difference)}",
        f"label flips {figures.label_flips}",
        f"mAP {number(figures.map_artifact_percent)} compared with {number(comparison.map_torch_percent)}",
    ]
    if figures.worst_class is not None:
        interval = ""
        if figures.worst_class_interval_points is not None:
            turned = drop_range(figures.worst_class_drop_points, figures.worst_class_interval_points)
            interval = f"; {turned} on other such images"
        among = f"the worst of {figures.classes_judged} classes"
        if figures.classes_judged == 1:
            among = "the only class judged"
        moved = drop_words(figures.worst_class_drop_points)
        parts.append(f"AP of {figures.worst_class} {moved} ({among}{interval})")
    images = f"{comparison.images} images"
    if comparison.kept:
        images += " kept in the run folder"
    return f"parity on {images}: {', '.join(parts)}"
