"""Gather everything a run folder holds into one dict: the content of report.json and of both pages."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from mlkdc import __version__
from mlkdc.bench import BASELINE
from mlkdc.errors import UsageError
from mlkdc.report.notes import notes
from mlkdc.runtime import Manifest

FORMAT = 1
RESULTS_KEYS = ("name", "method", "command", "seed", "machine", "data", "model", "metrics", "per_class")


def collect(run: Path) -> dict[str, Any]:
    """Everything about one run, JSON-able. Files are kept as they are; a part not made yet is None or empty.

    Returns:
        ``results``, ``recipe``, ``history`` (metrics.jsonl), ``bench``, ``artifacts`` (manifests by folder name):
        the files; ``latency``: the rows of ``bench`` joined with their artifact's accuracy and parity;
        ``best``: the fastest of them that can be shipped; ``missing``: for each absent part, what to run;
        ``notes``: what a reader must know before trusting the figures.

    Raises:
        UsageError: no results.json or recipe.yaml, or a file that this version cannot read; says what to run.
    """
    if not (run / "recipe.yaml").is_file():
        raise UsageError(f"{run} is not a run folder (no recipe.yaml in it); `mlkdc distill` makes one")
    here = shlex.quote(str(run))
    if not (run / "results.json").is_file():
        raise UsageError(f"{run} has no results.json yet; finish its training: `mlkdc distill --resume {here}`")
    again = f"take it away and have it written anew: `mlkdc distill --resume {here}`"
    results = _read_json(run / "results.json", again, RESULTS_KEYS)
    bench = None
    if (run / "bench.json").is_file():
        again = f"have it written anew: `mlkdc bench {here}`"
        bench = _read_json(run / "bench.json", again, ("command", "when", "machine", "rows"))
    manifests = sorted(run.glob("export/*/manifest.json"))
    artifacts = {path.parent.name: asdict(Manifest.load(path.parent)) for path in manifests}
    rows = _latency(bench, artifacts)
    recipe_yaml = (run / "recipe.yaml").read_text(encoding="utf-8")
    collected = {
        "format": FORMAT,
        "mlkdc": __version__,
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "run": str(run),
        "results": results,
        "recipe": yaml.safe_load(recipe_yaml),
        "recipe_yaml": recipe_yaml,
        "history": _read_history(run / "metrics.jsonl"),
        "bench": bench,
        "artifacts": artifacts,
        "latency": rows,
        "best": _best(rows),
        "commands": _commands(here, results, bench, artifacts),
    }
    collected["missing"] = _missing(collected, here)
    collected["notes"] = notes(collected)
    return collected


def file_bytes(manifest: dict[str, Any]) -> int:
    """The size of an artifact: all its files together."""
    return sum(int(entry["bytes"]) for entry in manifest["files"].values())


def _loads(text: str) -> Any:
    return json.loads(text, parse_constant=lambda _: None)  # NaN and infinity are not JSON: not measured


def _read_json(path: Path, again: str, needed: Sequence[str]) -> dict[str, Any]:
    try:
        value = _loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not JSON ({error}); {again}") from None
    if not isinstance(value, dict) or not isinstance(value.get("format"), int):
        raise UsageError(f"{path}: expected a mapping with a format number; {again}")
    if value["format"] > FORMAT:
        raise UsageError(
            f"{path} has format {value['format']}, this mlkdc {__version__} reads up to {FORMAT}; "
            f"use the mlkdc that wrote it, or {again}"
        )
    absent = [key for key in needed if key not in value]
    if absent:
        raise UsageError(f"{path} has no {', '.join(absent)}; {again}")
    return value


def _read_history(path: Path) -> list[dict[str, Any]]:
    """One entry per epoch, in order. A killed run can leave a broken last line; a resumed one, an epoch twice."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    epochs: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        try:
            entry = _loads(line)
        except json.JSONDecodeError:
            if number == len(lines):
                continue
            raise UsageError(f"{path}, line {number}: not JSON; take that line out and try again") from None
        epochs[entry["epoch"]] = entry
    return [epochs[epoch] for epoch in sorted(epochs)]


def _latency(bench: dict[str, Any] | None, artifacts: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Bench rows with ``mAP``, ``parity`` (``ok``, ``failed`` or None) and ``mAP_images`` of what was timed."""
    torch = [manifest["parity"] for manifest in artifacts.values() if "mAP_torch" in manifest["parity"]]
    joined = []
    for row in bench["rows"] if bench else []:
        manifest = artifacts.get(row["name"])
        known = {"mAP": None, "mAP_images": None, "parity": None}
        if manifest:
            parity = manifest["parity"]
            known = {"mAP": parity.get("mAP_artifact"), "mAP_images": parity.get("images")}
            known["parity"] = manifest["status"]
        elif row["name"] == BASELINE and len({parity["images"] for parity in torch}) == 1:
            known = {"mAP": torch[0]["mAP_torch"], "mAP_images": torch[0]["images"], "parity": None}
        joined.append({**row, **known})
    return joined


def _best(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The fastest timed row among those fit to ship, else torch itself; steady timings before unsteady ones."""
    timed = [row for row in rows if not row.get("skipped") and row.get("median_ms") is not None]
    fit = [row for row in timed if row["parity"] == "ok"] or [row for row in timed if row["name"] == BASELINE]
    return min(fit, key=lambda row: (not row["stable"], row["median_ms"]), default=None)


def _commands(
    here: str, results: dict[str, Any], bench: dict[str, Any] | None, artifacts: dict[str, dict[str, Any]]
) -> list[dict[str, str]]:
    """What was typed, where that is recorded; for exports, what makes the same artifact again."""
    commands = [("trained with", results["command"])]
    if bench and bench["command"] == results["command"]:
        commands = [("trained, exported and timed with", results["command"])]
    elif bench:
        commands.append(("timed with", bench["command"]))
    for name, manifest in artifacts.items():
        options = f"--target {manifest['target']} --precision {manifest['precision']}"
        if (reduced := manifest.get("details", {}).get("reduce_range")) is not None:
            options += " --reduce-range" if reduced else " --no-reduce-range"
        if manifest["precision"] == "int8" and (allowed := manifest["parity"].get("tolerance")):
            options += f" --max-drop {allowed['map']:g} --max-class-drop {allowed['class_ap']:g}"
        options += " --equalize" * bool((manifest.get("quantization") or {}).get("equalize"))
        options += " --dynamic" * manifest["dynamic_batch"] + " --uint8" * (manifest["input"]["dtype"] == "uint8")
        commands.append((f"exports {name} again", f"mlkdc export {here} {options}"))
    commands.append(("makes this report again", f"mlkdc report {here}"))
    return [{"what": what, "command": command} for what, command in commands]


def _missing(collected: dict[str, Any], here: str) -> dict[str, str]:
    absent = {
        "history": f"not recorded: there is no metrics.jsonl in {here}",
        "artifacts": f"not exported yet: run `mlkdc export {here} --target onnx`",
        "bench": f"not measured yet: run `mlkdc bench {here}`",
    }
    return {part: text for part, text in absent.items() if not collected[part]}
