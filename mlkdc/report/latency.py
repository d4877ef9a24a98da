"""Timings joined with the accuracy of what was timed, and which of them counts as the run's latency."""

from collections.abc import Mapping, Sequence

from mlkdc.records.bench import BASELINE, Accuracy, BenchFile, LatencyRow
from mlkdc.records.manifest import Manifest
from mlkdc.records.parity import Comparison
from mlkdc.records.report import LatencyEntry
from mlkdc.records.results import Results
from mlkdc.records.shipping import fault, is_of_earlier_files


def latency_entries(
    bench: BenchFile | None, artifacts: Mapping[str, Manifest], results: Results
) -> tuple[LatencyEntry, ...]:
    """The rows of bench.json, each with the accuracy and parity status of what it timed."""
    if bench is None:
        return ()
    entries = []
    for row in bench.rows:
        manifest = artifacts.get(row.name)
        if row.imported_from is not None:
            # What another tool made of the file was not compared with the torch model.
            entries.append(_joined(row))
        elif manifest is not None and not is_of_earlier_files(row, manifest, bench.when):
            entries.append(_artifact_entry(row, manifest))
        elif row.name == BASELINE:
            entries.append(_joined(row, **_torch_accuracy(_scored(bench, row.device), artifacts, results)))
        else:
            entries.append(_joined(row))
    return tuple(entries)


def best_entry(entries: Sequence[LatencyEntry]) -> LatencyEntry | None:
    """The fastest artifact on the first device that can be shipped, else the baseline; None where neither was timed."""
    shippable, baseline = [], []
    for entry in entries:
        if entry.device != entries[0].device:
            continue
        if entry.parity is not None and not fault(entry, entry.parity):
            shippable.append(entry)
        elif entry.name == BASELINE:
            baseline.append(entry)
    # An artifact that failed its check, answers otherwise there or was never run is not what a user would get.
    return _fastest(shippable) or _fastest(baseline)


def _scored(bench: BenchFile, device: str) -> list[Accuracy]:
    """What the rows of a device reached where they were scored there."""
    accuracies = [row.accuracy for row in bench.rows if row.device == device and row.accuracy is not None]
    return [accuracy for accuracy in accuracies if accuracy.map_percent is not None]


def _torch_accuracy(
    scored: Sequence[Accuracy], artifacts: Mapping[str, Manifest], results: Results
) -> dict[str, object]:
    """The torch model's mAP on the images that the artifacts next to it were scored on; nothing where not known."""
    if scored:
        images = results.images or results.data.images.get(results.scored_on)
        if any((accuracy.split, accuracy.map_images) != (results.scored_on, images) for accuracy in scored):
            return {}
        return {"map_percent": results.map_percent, "map_images": images}
    torch = _torch_comparison(artifacts)
    return {} if torch is None else {"map_percent": torch.map_torch_percent, "map_images": torch.images}


def _torch_comparison(artifacts: Mapping[str, Manifest]) -> Comparison | None:
    """A parity check that says what the torch model's mAP is.

    Checks on different images give different figures for the same model; then none is *the* mAP of the baseline.
    """
    comparisons = []
    for manifest in artifacts.values():
        if manifest.parity.comparison is not None:
            comparisons.append(manifest.parity.comparison)
    images = {comparison.images for comparison in comparisons}
    if len(images) != 1:
        return None
    return comparisons[0]


def _artifact_entry(row: LatencyRow, manifest: Manifest) -> LatencyEntry:
    comparison, figures = manifest.parity.comparison, manifest.parity.figures
    return _joined(
        row,
        map_percent=figures.map_artifact_percent if figures else None,
        map_images=comparison.images if comparison else None,
        parity=manifest.status,
    )


def _joined(row: LatencyRow, **accuracy: object) -> LatencyEntry:
    # What was measured on the device itself goes before the parity check on another machine.
    if row.accuracy is not None and row.accuracy.map_percent is not None:
        accuracy = {**accuracy, "map_percent": row.accuracy.map_percent, "map_images": row.accuracy.map_images}
    return LatencyEntry.model_validate({**dict(row), **accuracy})


def _fastest(entries: Sequence[LatencyEntry]) -> LatencyEntry | None:
    best: LatencyEntry | None = None
    best_rank = (True, float("inf"))
    for entry in entries:
        if entry.timing is None:
            continue
        # An unstable timing may be a lucky one, so it comes after every stable one, however fast it looks.
        rank = (not entry.timing.stable, entry.timing.median_ms)
        if best is None or rank < best_rank:
            best, best_rank = entry, rank
    return best
