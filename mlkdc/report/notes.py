"""What a reader must know before trusting a report's figures."""

import shlex
from datetime import datetime
from typing import Any

from mlkdc.report.cells import threads


def notes(collected: dict[str, Any]) -> list[str]:
    """One plain sentence for each thing that makes a figure weaker than it looks; empty when nothing does."""
    return _on_accuracy(collected["results"]) + _on_artifacts(collected) + _on_latency(collected)


def _listed(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _on_accuracy(results: dict[str, Any]) -> list[str]:
    found = []
    scored, tuned = results.get("scored_on"), results.get("thresholds_from")
    if scored and scored == tuned:
        found.append(
            f"Thresholds were tuned and scored on the same split ({scored}): the tuned figures are optimiztic."
        )
    if scored in ("train", "val"):
        found.append(f"Scored on the {scored} split: the data has no test split of its own.")
    absent = [item["name"] for item in results["per_class"] if item["AP"] is None]
    if absent:
        found.append(
            f"{len(absent)} of {len(results['per_class'])} classes without a positive image in the {scored} split, "
            f"left out of every mean over classes: {_listed(absent)}."
        )
    skipped = results["data"].get("skipped") or []
    if skipped:
        what = f"{len(skipped)} files were" if len(skipped) > 1 else "1 file was"
        found.append(f"{what} left out of the data on request (listed under Data).")
    return found


def _on_artifacts(collected: dict[str, Any]) -> list[str]:
    found = []
    trained = collected["results"].get("recipe_hash")
    for name, manifest in collected["artifacts"].items():
        if manifest["status"] == "unverified":
            found.append(f"{name} was not run by its own runtime: {manifest['parity']['reason'].rstrip('.')}.")
        elif manifest["status"] != "ok":
            reason = manifest["parity"].get("reason") or "it differs from the torch model"
            found.append(f"{name} failed its parity check and must not be shipped: {reason.rstrip('.')}.")
        if manifest.get("details", {}).get("reduce_range") is False:
            found.append(
                f"{name} has int8 weights in their whole range: it is for Arm, and for x86 processors that have VNNI."
            )
        if manifest.get("recipe_hash") not in (None, trained):
            found.append(f"{name} was exported from another training than the one shown here; export it again.")
    return found


def _on_latency(collected: dict[str, Any]) -> list[str]:
    bench = collected["bench"]
    if not bench:
        return []
    found = []
    timed = [row for row in bench["rows"] if not row.get("skipped")]
    unstable = [f"{row['name']} ({threads(row['threads'])})" for row in timed if not row["stable"]]
    if unstable:
        found.append(f"Unstable timings, not to be relied on: {_listed(unstable)}. Time again on a quiet machine.")
    listed = {row["name"]: row for row in bench["rows"]}
    for name, manifest in collected["artifacts"].items():
        if name not in listed:
            found.append(f"{name} has not been timed yet: run `mlkdc bench {shlex.quote(collected['run'])}`.")
        elif listed[name].get("skipped"):
            continue
        elif manifest.get("created") and _moment(manifest["created"]) > _moment(bench["when"]):
            found.append(f"{name} was exported after it was timed: its latency is of an earlier file.")
    return found


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
