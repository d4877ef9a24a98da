"""`mlkdc evaluate`, `export`, `report` and `predict`."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlkdc.cli.bench import MIN_MAP_ALONE, Finite, budget_option, min_map_option
from mlkdc.cli.shared import data_option, examples, json_option, pick_run, run_argument, say, show
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.figures import counted, number
from mlkdc.tables import Table

if TYPE_CHECKING:
    from mlkdc.records.results import Scores


@click.command(
    short_help="Score a run, or an exported artifact.",
    epilog=examples(
        "mlkdc evaluate runs/photos", "mlkdc evaluate runs/photos/export/onnx-int8 --data other-photos/ --json"
    ),
)
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[RUN|ARTIFACT]")
@data_option
@json_option
@click.option("--allow-failed", is_flag=True, help="Score an artifact although it failed its parity check.")
def evaluate(folder: Path | None, data_path: str | None, as_json: bool, allow_failed: bool) -> None:
    """Score a run, or an artifact in its runtime: mAP, F1s at 0.5 and at tuned thresholds, per class."""
    from mlkdc.commands.evaluate import evaluate as score
    from mlkdc.commands.evaluate import is_artifact_folder

    if folder is None:
        folder = pick_run(None).path
    if is_artifact_folder(folder):
        _say_if_unverified(folder)
    scores = score(folder, data_path, allow_failed=allow_failed, say=say)
    if as_json:
        click.echo(scores.model_dump_json(indent=2))
        return
    say(f"scored on {_scored(scores, data_path)}; thresholds from {scores.thresholds_from}")
    _show_scores(scores)


def _scored(scores: "Scores", data_path: str | None) -> str:
    """Which images, in words."""
    text = scores.scored_on
    if scores.images is not None:
        text = f"{counted(scores.images, 'image')} ({text})"
    if data_path is not None:
        text += f" of {data_path}"
    return text


def _show_scores(scores: "Scores") -> None:
    show(Table(["metric", "%"], [[name, number(value)] for name, value in scores.metrics.items()], "lr"))
    click.echo()
    rows = []
    for item in scores.per_class:
        rows.append([item.name, number(item.ap_percent), str(item.positives), number(item.threshold, 3)])
    show(Table(["class", "AP, %", "positives", "threshold"], rows, "lrrr"))


@click.command(
    short_help="Merge, export and compare with the torch model.",
    epilog=examples(
        "mlkdc export runs/photos --target onnx --target litert --precision all",
        "mlkdc export runs/photos --target openvino --precision int8 --max-drop 0.5",
    ),
)
@run_argument
@click.option("--target", "targets", multiple=True, default=["onnx"], show_default=True, help="Repeat, or `all`.")
@click.option("--precision", "precisions", multiple=True, help="Repeat, or `all`; default: each target's first.")
@click.option("--dynamic", is_flag=True, help="Any batch size instead of 1.")
@click.option("--uint8", is_flag=True, help="Take uint8 pixels instead of float32.")
@click.option("--max-drop", type=Finite(0, 100), help="Allowed drop of mAP in percentage points.")
@click.option(
    "--max-class-drop", type=Finite(0, 100), help="Allowed drop of the worst class's AP in percentage points."
)
@click.option(
    "--equalize/--no-equalize",
    default=None,
    help="Equalize channels across layers before int8; default: where branches were merged, as in RepVGG.",
)
@click.option(
    "--reduce-range/--no-reduce-range",
    default=None,
    help="Half of the range for int8 weights of onnx and openvino (default), or all: more accurate, needs VNNI on x86.",
)
@click.option("--fast", is_flag=True, help="Leave out int8's slowest steps, which measure each layer's sensitivity.")
@click.option(
    "--qat-epochs",
    type=click.IntRange(min=0),
    help="Train on so long with int8's rounding, where no other step is good enough; default: the recipe's (0).",
)
@click.option("--opset", type=click.IntRange(min=1), help="Of ONNX; default: the target's.")
@click.option("--data", "data_path", metavar="PATH", help="The run's images, if they have moved.")
@click.option("--skip-parity", is_flag=True, help="Need no images; the artifact is marked unverified. Not for int8.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder; default: RUN/export/TARGET-PRECISION.")
def export(
    run_folder: Path | None,
    targets: tuple[str, ...],
    precisions: tuple[str, ...],
    dynamic: bool,
    uint8: bool,
    max_drop: float | None,
    max_class_drop: float | None,
    equalize: bool | None,
    reduce_range: bool | None,
    fast: bool,
    qat_epochs: int | None,
    opset: int | None,
    data_path: str | None,
    skip_parity: bool,
    out: Path | None,
) -> None:
    """Merge a run's model, export it, and check that it predicts what the torch model predicts.

    An int8 model that loses more than half of what is allowed is quantized again with other settings, then with
    layers in float.
    """
    from mlkdc.commands.halves import require_training
    from mlkdc.exporting.request import ExportOptions, check_images, choices
    from mlkdc.runtime.targets import load_target

    selected = choices(targets, precisions)
    require_training("exporting", load_target(selected[0][0]).install)

    if len(selected) > 1 and out:
        raise UsageError("--out names one folder; omit it where several artifacts are exported")
    run = pick_run(run_folder)
    options = []
    for target, precision in selected:
        options.append(
            ExportOptions(
                target=target,
                precision=precision,
                dynamic=dynamic,
                input_dtype="uint8" if uint8 else "float32",
                max_map_drop_points=max_drop,
                max_class_drop_points=max_class_drop,
                equalize=equalize,
                reduce_range=reduce_range,
                fast=fast,
                qat_epochs=qat_epochs,
                opset=opset,
                data=data_path,
                skip_parity=skip_parity,
                out=out,
            )
        )
    # Before torch and the converters are loaded, which takes long.
    check_images(run, options[0])
    from mlkdc.exporting import export_several

    faults: list[MlkdcError] = []
    for choice, outcome in export_several(run, options, say=say):
        if isinstance(outcome, Path):
            _show_artifact(outcome)
            continue
        if len(options) == 1:
            raise outcome
        faults.append(outcome)
        verdict = "skipped" if outcome.exit_code == 2 else "failed"
        click.echo(f"{choice.target}-{choice.precision}: {verdict}: {outcome}")
    _raise_if_failed(faults, len(options))


def _show_artifact(folder: Path) -> None:
    from mlkdc.commands.describe import artifact_lines
    from mlkdc.records.manifest import Manifest

    for line in artifact_lines(Manifest.load(folder)):
        click.echo(line)
    click.echo(str(folder))


def _raise_if_failed(faults: list[MlkdcError], count: int) -> None:
    """An export that could not be tried here is no failure, unless it is so with all of them."""
    message = f"{len(faults)} of {count} exports failed or were skipped"
    if any(fault.exit_code != 2 for fault in faults):
        raise MlkdcError(message)
    if len(faults) == count:
        raise UsageError(message)


@click.command(
    short_help="Write a run's report: HTML, Markdown and JSON.",
    epilog=examples("mlkdc report", "mlkdc report runs/photos", "mlkdc report runs/photos --budget 8ms --min-map 60"),
)
@run_argument
@budget_option
@min_map_option
def report(run_folder: Path | None, budget: float | None, min_map: float | None) -> None:
    """Write report.html, report.md and report.json; with a budget, they say which artifact to ship on which device."""
    from mlkdc.bench.recommend import Budget
    from mlkdc.records.report import Report
    from mlkdc.report import write_report
    from mlkdc.report.ship import shipping_sentences

    if min_map is not None and budget is None:
        raise UsageError(MIN_MAP_ALONE)

    # A folder that was copied without its weights can still be reported on, so it need not be a run that can be loaded.
    folder = run_folder or pick_run(None).path
    wanted = Budget(budget, min_map) if budget is not None else None
    page = write_report(folder, wanted)
    advice = shipping_sentences(Report.load(folder).to_ship)
    for sentence in advice:
        click.echo(sentence)
    if wanted is not None and not advice:
        say(f"nothing was measured yet that could meet a budget: mlkdc bench {shlex.quote(str(folder))}")
    click.echo(str(page))


@click.command(
    short_help="Predict labels of images with an exported artifact.",
    epilog=examples(
        "mlkdc predict photo.jpg --model runs/photos/export/onnx-fp32", "mlkdc predict photos/ --top 5 --json"
    ),
)
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="IMAGE|FOLDER...")
@click.option(
    "--model",
    "artifact",
    type=click.Path(path_type=Path),
    help="An artifact folder; default: the newest that passed its check.",
)
@click.option("--top", type=click.IntRange(min=1), help="The N most probable labels, whatever their thresholds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line, for each image.")
@click.option("--allow-failed", is_flag=True, help="Use an artifact that failed its parity check.")
def predict(
    images: tuple[Path, ...], artifact: Path | None, top: int | None, as_json: bool, allow_failed: bool
) -> None:
    """Print the labels that an exported artifact predicts for images, with probabilities."""
    from mlkdc.commands.predict import predict as predict_images

    if artifact is None:
        artifact = pick_run(None).newest_artifact(say)
        say(f"model: {artifact}")
    _say_if_unverified(artifact)
    bad: list[Path] = []

    def on_bad(path: Path, error: UsageError) -> None:
        bad.append(path)
        say(f"skipped: {error}")
        if as_json:
            click.echo(json.dumps({"image": str(path), "error": str(error)}))

    # Where one image is asked for, it is an error that it cannot be read.
    skip = None
    if len(images) > 1 or images[0].is_dir():
        skip = on_bad
    count = 0
    for prediction in predict_images(artifact, images, top=top, allow_failed=allow_failed, on_bad=skip):
        count += 1
        if as_json:
            click.echo(json.dumps({"image": str(prediction.image), "labels": prediction.labels}))
            continue
        shown = "  ".join(f"{name} {probability:.3f}" for name, probability in prediction.labels.items())
        click.echo(f"{prediction.image}: {shown or '(no label above its threshold)'}")
    if bad:
        raise MlkdcError(f"{len(bad)} of {counted(count + len(bad), 'image')} could not be read")


def _say_if_unverified(artifact: Path) -> None:
    from mlkdc.records.manifest import Manifest

    manifest = Manifest.load(artifact)
    if manifest.status == "unverified":
        say(f"note: {artifact} was not checked in its runtime ({manifest.parity.reason})")
