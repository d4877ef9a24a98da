"""The report's tables, as text cells that both the page and the Markdown print."""

import math
from typing import Any

from mlkdc.report.cells import DASH, Table, difference, megabytes, number, plain, scaled, times
from mlkdc.report.collect import file_bytes

RANKED = {
    "mAP": "average precision, mean over classes",
    "P@1": "share of images whose highest-scored label is right",
    "R@1": "share of an image's labels that this label covers",
}
DECIDED = {
    "OP": "precision over all decisions",
    "OR": "recall over all decisions",
    "OF1": "harmonic mean of OP and OR",
    "CP": "precision, mean over classes",
    "CR": "recall, mean over classes",
    "CF1": "mean over classes of the F1 of each",
}


def ranked(metrics: dict[str, float]) -> Table:
    """The figures without a threshold; a name that is not known here is shown too, without an explanation."""
    names = [name for name in metrics if name.partition("@")[0] not in DECIDED]
    rows = [[name, number(metrics[name]), RANKED.get(name, "")] for name in names]
    return Table(["metric", "%", "what it is"], rows, "lrl")


def decided(metrics: dict[str, float]) -> Table:
    """Precision, recall and F1 by how labels were decided."""
    ways = [way for way in ("", "@tuned", "@n") if any(name + way in metrics for name in DECIDED)]
    titles = {"": "at 0.5, %", "@tuned": "tuned, %", "@n": "@n, %"}
    rows = [
        [name, *(number(metrics.get(name + way)) for way in ways), meaning]
        for name, meaning in DECIDED.items()
        if any(name + way in metrics for way in ways)
    ]
    return Table(["metric", *(titles[way] for way in ways), "what it is"], rows, f"l{'r' * len(ways)}l")


def beside_teacher(results: dict[str, Any]) -> Table | None:
    """Student, teacher, and the student as a share of the teacher."""
    teacher, student = results.get("teacher"), results["model"]
    if not teacher:
        return None
    mine, its = results["metrics"], teacher.get("metrics") or {}
    rows = [
        ["model", student["model"], teacher["model"], ""],
        ["input, px", str(student["image_size"]), str(teacher["image_size"]), ""],
    ]
    for name in ("mAP", "OF1", "CF1"):
        gap = mine[name] - its[name] if name in mine and name in its else None
        apart = DASH if gap is None else f"{gap:+.2f} points"
        rows.append([f"{name}, %", number(mine.get(name)), number(its.get(name)), apart])
    for key, title in (("params", "parameters"), ("macs", "multiply-adds")):
        few, many = student.get(key), teacher.get(key)
        share = f"{100 * few / many:.1f} %" if few and many else DASH
        rows.append([title, scaled(few), scaled(many), share])
    return Table(["", "student", "teacher", "comparison"], rows, "lrrr")


def latency(rows: list[dict[str, Any]]) -> Table:
    """One line per timed row. Skipped rows say why."""
    head = ["what", "threads", "median, ms", "p90", "p99", "mAP, %", "size, MB", "against eager", "state"]
    return Table(head, [_latency_row(row) for row in rows], "lrrrrrrrl")


def _latency_row(row: dict[str, Any]) -> list[str]:
    if row.get("skipped"):
        state = f"skipped: {row['skipped']}"
    else:
        steady = "stable" if row["stable"] else "unstable"
        state = {"ok": f"{steady}, parity ok", "failed": f"{steady}, parity FAILED"}.get(row["parity"], steady)
    return [
        row["name"],
        DASH if row.get("threads") is None else str(row["threads"]),
        *(number(row.get(key)) for key in ("median_ms", "p90_ms", "p99_ms", "mAP")),
        megabytes(row.get("size_bytes")),
        times(row.get("speedup")),
        state,
    ]


def artifacts(manifests: dict[str, dict[str, Any]]) -> Table:
    """What was exported, and how it compares with the torch model."""
    head = ["artifact", "parity", "images", "largest difference", "label flips", "mAP torch, %", "mAP artifact, %"]
    head += ["worst class, points", "size, MB", "runtime", "input"]
    rows = []
    for name, manifest in manifests.items():
        parity = manifest["parity"]
        verdict = {"ok": "ok", "failed": "FAILED"}.get(manifest["status"], manifest["status"])
        given = manifest["input"]
        batch = "n" if manifest["dynamic_batch"] else "1"
        shape = "×".join([batch, *(str(side) for side in given["shape"][1:])])
        rows.append(
            [
                name,
                verdict,
                number(parity.get("images"), 0),
                difference(parity.get("max_probability_difference")),
                number(parity.get("label_flips"), 0),
                number(parity.get("mAP_torch")),
                number(parity.get("mAP_artifact")),
                _worst_class(parity),
                megabytes(file_bytes(manifest)),
                manifest["runtime"],
                f"{given['dtype']} {shape}",
            ]
        )
    return Table(head, rows, "llrrrrrrrll")


def _worst_class(parity: dict[str, Any]) -> str:
    """The class whose AP fell most, and by how much."""
    fall = parity.get("worst_class_drop")
    return DASH if fall is None or parity.get("worst_class") is None else f"{-fall:+.2f} {parity['worst_class']}"


def ladders(manifests: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """For each int8 artifact what was tried, step by step, until the loss was small enough."""
    found = []
    head = ["step", "layers in float", "mAP, %", "fall of mAP", "worst class, points", "enough"]
    for name, manifest in manifests.items():
        rows = [
            [
                step["step"],
                ", ".join(step["keep"]) or "none",
                number(step["mAP_artifact"]),
                number(step["mAP_drop"]),
                _worst_class(step),
                "yes" if step["passed"] else "no",
            ]
            for step in (manifest["quantization"] or {}).get("steps", [])
        ]
        if rows:
            found.append({"name": name, "table": Table(head, rows, "llrrrl")})
    return found


def tolerances(manifests: dict[str, dict[str, Any]]) -> list[str]:
    """What the targets allowed, one sentence for all artifacts with equal limits; none where it is not recorded."""
    words = {
        "probability": "probability by {:g}",
        "label_flips": "{:g} % of the decisions",
        "map": "mAP by {:g} points",
        "class_ap": "the worst class's AP by {:g} points",
    }
    told: dict[str, list[str]] = {}
    for name, manifest in manifests.items():
        limits = manifest["parity"].get("tolerance") or {}
        allowed = ", ".join(words.get(what, what + " {:g}").format(most) for what, most in limits.items())
        told.setdefault(allowed, []).append(name)
    return [f"Allowed to differ for {', '.join(names)}: {allowed}." for allowed, names in told.items() if allowed]


def merges(manifests: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What re-parameterization did: artifacts that were merged alike are told once."""
    found: list[dict[str, Any]] = []
    for name, manifest in manifests.items():
        merge = manifest["merge"]
        alike = next((item for item in found if item["merge"] == merge), None)
        if alike:
            alike["names"].append(name)
        elif merge:
            found.append({"names": [name], "merge": merge, "facts": _merged(merge), "table": _sizes(merge)})
    return found


def _merged(merge: dict[str, Any]) -> list[tuple[str, str]]:
    folded = "scale in the first convolution" if merge.get("normalization") else "kept as operations"
    return [
        ("parallel branches merged", number(merge.get("branches"), 0)),
        ("convolution + batch norm", number(merge.get("conv_bn"), 0)),
        ("input normalization", folded),
        ("head", "what only its queries decide computed once" if merge.get("head") else "nothing to fold"),
        ("largest logit difference", difference(merge.get("max_logit_difference"))),
    ]


def _sizes(merge: dict[str, Any]) -> Table:
    rows = []
    for title, part in (("backbone", "_backbone"), ("head", "_head"), ("whole model", "")):
        cells = [merge.get(f"{what}{part}_{when}") for what in ("params", "macs") for when in ("before", "after")]
        rows.append([title, *(scaled(cell) for cell in cells)])
    head = ["", "parameters before", "after", "multiply-adds before", "after"]
    return Table(head, rows, "lrrrr")


def per_class(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Classes from the highest average precision to the lowest; those without a positive last."""
    return sorted(results["per_class"], key=lambda item: (item["AP"] is None, -(item["AP"] or 0), item["name"]))


def class_table(results: dict[str, Any]) -> Table:
    """The same as a table."""
    rows = [
        [item["name"], number(item["AP"]), number(item.get("positives"), 0), number(item.get("threshold"), 3)]
        for item in per_class(results)
    ]
    return Table(["class", "AP, %", "positives", "threshold"], rows, "lrrr")


def history(entries: list[dict[str, Any]], most: int = 20) -> Table:
    """Training by epoch: at most ``most`` of them, evenly spaced, the last one among them."""
    step = max(1, math.ceil(len(entries) / most))
    rows = [
        [
            str(entry["epoch"]),
            number(entry.get("loss"), 4),
            number(entry.get("mAP")),
            DASH if entry.get("lr") is None else f"{entry['lr']:.3g}",
        ]
        for entry in entries[::-step][::-1]
    ]
    return Table(["epoch", "loss", "validation mAP, %", "learning rate"], rows, "rrrr")


def machines(collected: dict[str, Any]) -> Table:
    """Where it was trained and where it was timed."""
    places = {"trained on": collected["results"]["machine"]}
    if collected["bench"]:
        places["timed on"] = collected["bench"]["machine"]
    keys = list(dict.fromkeys(key for place in places.values() for key in place))
    names = {"cpu": "processor", "cores": "cores", "memory_gib": "memory, GiB"}
    rows = [[names.get(key, key), *(plain(place.get(key)) for place in places.values())] for key in keys]
    return Table(["", *places], rows, "l" * (1 + len(places)))


def versions(collected: dict[str, Any]) -> Table:
    """Package versions at training, export and timing."""
    exported: dict[str, str] = {}
    for manifest in collected["artifacts"].values():
        exported |= manifest.get("versions") or {}
    stages = {
        "training": collected["results"].get("versions") or {},
        "export": exported,
        "timing": (collected["bench"] or {}).get("versions") or {},
    }
    stages = {name: found for name, found in stages.items() if found}
    packages = sorted({package for found in stages.values() for package in found})
    rows = [[package, *(str(found.get(package, DASH)) for found in stages.values())] for package in packages]
    return Table(["package", *stages], rows, "l" * (1 + len(stages)))
