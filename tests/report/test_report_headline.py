"""Which row and which size the report puts first."""

from report_folder import write_full

from mlkdc.records.report import LatencyEntry
from mlkdc.report import collect
from mlkdc.report.headline import cards
from mlkdc.report.latency import best_entry


def entry(name: str, median_ms: float, **values) -> LatencyEntry:
    """An artifact that passed its check, on this machine."""
    timing = {"median_ms": median_ms, "p90_ms": median_ms, "min_ms": 0.1, "runs": 200, "passes": 3}
    timing |= {"verdict": "stable", **values.pop("timing", {})}
    defaults = {"device": "local", "threads": 1, "precision": "fp32", "parity": "ok"}
    return LatencyEntry(name=name, timing=timing, **{**defaults, **values})


def test_the_headline_is_the_lowest_median_on_the_first_device():
    slow, fast = entry("a", 5.0, timing={"p90_ms": 6.0}), entry("b", 4.0, timing={"p90_ms": 9.0})
    assert best_entry([slow, fast, entry("c", 1.0, device="phone")]) == fast


def test_a_torch_model_is_the_headline_only_where_nothing_else_is():
    artifact, torch = entry("onnx-fp32", 9.0), entry("torch eager", 3.0, parity=None, precision=None)
    assert best_entry([torch, artifact]) == artifact
    assert best_entry([torch]) == torch


def test_the_size_without_a_timing_is_that_of_the_smallest_artifact_that_passed(tmp_path):
    folder = write_full(tmp_path)
    (folder / "bench.json").unlink()
    report = collect(folder)
    sizes = {name: made.size_bytes for name, made in report.artifacts.items() if made.status == "ok"}
    assert len(set(sizes.values())) > 1
    [card] = [card for card in cards(report) if card.title == "size"]
    assert (card.detail, card.value) == (min(sizes, key=sizes.get), f"{min(sizes.values()) / 1e6:.1f}")
