"""`mlkdc evaluate`, `export`, `bench`, `report` and `predict`."""

import json
from pathlib import Path
from typing import Any

import click

from mlkdc.cli.shared import command_line, data_option, make_progress, pick_run, run_argument, say, table
from mlkdc.errors import MlkdcError, UsageError


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[RUN|ARTIFACT]")
@data_option
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
@click.option("--allow-failed", is_flag=True, help="Score an artifact although it failed its parity check.")
def evaluate(folder: Path | None, data_path: str | None, as_json: bool, allow_failed: bool) -> None:
    """Score a run, or an artifact through its own runtime: mAP, F1s at 0.5 and at tuned thresholds, per class."""
    from mlkdc.commands.artifacts import evaluate_artifact
    from mlkdc.commands.pipeline import evaluate_run

    if folder is not None and (folder / "manifest.json").is_file():
        _tell_unverified(folder)
        scores = evaluate_artifact(folder, data_path, allow_failed=allow_failed)
    else:
        run = pick_run(folder)
        if allow_failed:
            raise UsageError(
                f"--allow-failed is for an artifact; {run.path} is a run, which has no parity check to fail"
            )
        scores = evaluate_run(run, data_path)
    if as_json:
        click.echo(json.dumps(scores, indent=2))
        return
    say(f"scored on {scores['scored_on']}; thresholds from {scores['thresholds_from']}")
    click.echo(table(["metric", "%"], [[name, f"{value:.2f}"] for name, value in scores["metrics"].items()]))
    rows = [
        [
            item["name"],
            "-" if item["AP"] is None else f"{item['AP']:.2f}",
            str(item["positives"]),
            f"{item['threshold']:.3f}",
        ]
        for item in scores["per_class"]
    ]
    click.echo("\n" + table(["class", "AP", "positives", "threshold"], rows))


@click.command()
@run_argument
@click.option("--target", "targets", multiple=True, default=["onnx"], show_default=True, help="Repeat, or `all`.")
@click.option("--precision", "precisions", multiple=True, help="Repeat, or `all`; default: each target's first.")
@click.option("--dynamic", is_flag=True, help="Any batch size instead of 1.")
@click.option("--uint8", is_flag=True, help="Take uint8 pixels instead of float32.")
@click.option("--max-drop", type=click.FloatRange(min=0), help="Allowed fall of mAP in points.")
@click.option("--max-class-drop", type=click.FloatRange(min=0), help="Allowed fall of the worst class's AP in points.")
@click.option("--equalize", is_flag=True, help="Even out channels over layers before int8: for RepVGG.")
@click.option(
    "--reduce-range/--no-reduce-range",
    default=None,
    help="int8 weights of onnx and openvino in half of their range (default), or in all: better, needs VNNI on x86.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder; default: RUN/export/TARGET-PRECISION.")
def export(
    run_folder: Path | None,
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    uint8: bool,
    **options: Any,
) -> None:
    """Merge, export and prove equal to the torch model.

    An int8 model that loses more than allowed is quantized again with more care, step by step.
    """
    from mlkdc.commands.artifacts import artifact_lines
    from mlkdc.exporting import choices, export_several
    from mlkdc.records.manifest import Manifest

    wanted = choices(targets, precisions)
    if len(wanted) > 1 and options["out"]:
        raise UsageError("--out names one folder; leave it out where several artifacts are exported")
    run = pick_run(run_folder)
    options["input_dtype"] = "uint8" if uint8 else "float32"
    faults = []
    for (target, precision), made in export_several(run, wanted, say=say, **options):
        if isinstance(made, Path):
            click.echo("\n".join([*artifact_lines(Manifest.load(made)), str(made)]))
            continue
        if len(wanted) == 1:
            raise made
        faults.append(made)
        click.echo(f"{target}-{precision}: {'skipped' if made.exit_code == 2 else 'failed'}: {made}")
    failed = [fault for fault in faults if fault.exit_code != 2]
    if failed or len(faults) == len(wanted):
        kind = MlkdcError if failed else UsageError
        raise kind(f"{len(faults)} of {len(wanted)} exports failed or were skipped")


@click.command()
@click.argument("artifacts", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN|ARTIFACT]...")
@click.option("--runs", type=click.IntRange(min=200), help="Timed calls in each process.")
@click.option("--passes", type=click.IntRange(min=1), help="Processes per row, rows interleaved.")
@click.option("--threads", "threads", type=click.IntRange(min=1), multiple=True, help="May be repeated.")
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for the figures of loose artifacts.")
def bench(
    artifacts: tuple[Path, ...],
    runs: int | None,
    passes: int | None,
    threads: tuple[int, ...],
    out: Path | None,
) -> None:
    """Measure latency, each row in processes of its own, beside the torch model."""
    from mlkdc.commands.pipeline import bench_paths, bench_table

    paths = list(artifacts) or [pick_run(None).path]
    figures, saved = bench_paths(
        paths,
        runs=runs,
        passes=passes,
        threads=list(threads) or None,
        out=out,
        command=command_line(),
        progress=make_progress(),
    )
    click.echo(table(*bench_table(figures)))
    click.echo(f"\n{saved}")


@click.command()
@run_argument
def report(run_folder: Path | None) -> None:
    """Write report.html, report.md and report.json."""
    from mlkdc.report import write_report

    click.echo(str(write_report(pick_run(run_folder).path)))


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE|FOLDER...")
@click.option("--model", "artifact", type=click.Path(path_type=Path), help="An artifact folder; default: the newest.")
@click.option("--top", type=click.IntRange(min=1), help="The N most probable labels, whatever their thresholds.")
@click.option("--json", "as_json", is_flag=True)
@click.option("--allow-failed", is_flag=True, help="Use an artifact that failed its parity check.")
def predict(
    images: tuple[Path, ...], artifact: Path | None, top: int | None, as_json: bool, allow_failed: bool
) -> None:
    """Labels of images, by an exported artifact."""
    from mlkdc.commands.artifacts import newest_artifact, predict_labels

    if artifact is None:
        artifact = newest_artifact(pick_run(None))
        say(f"model: {artifact}")
    _tell_unverified(artifact)
    for path, labels in predict_labels(artifact, list(images), top=top, allow_failed=allow_failed):
        if as_json:
            click.echo(json.dumps({"image": str(path), "labels": dict(labels)}))
        else:
            named = "  ".join(f"{name} {probability:.3f}" for name, probability in labels)
            click.echo(f"{path}: {named or '(no label above its threshold)'}")


def _tell_unverified(artifact: Path) -> None:
    from mlkdc.runtime import Manifest

    manifest = Manifest.load(artifact)
    if manifest.status == "unverified":
        say(f"note: {artifact} was exported where its runtime could not run ({manifest.parity.get('reason')})")
