"""The HTML page, read back and compared with the files it was made from."""

import json
import math
import re

import numpy as np
import pytest
from page_reader import Page
from report_artifacts import bench, bench_of, figures, manifest, parity
from report_folder import copy_raw, read_json, write_epochs, write_full, write_manifest, write_minimal
from report_training import class_names, history, results

from mlkdc.records.parity import Promise
from mlkdc.records.results import TeacherFacts
from mlkdc.report import write_report
from mlkdc.report.run_tables import MOST_EPOCHS, history_table


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    page = write_report(write_full(tmp_path_factory.mktemp("runs") / "l2d run"))
    return Page(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def minimal(tmp_path_factory):
    page = write_report(write_minimal(tmp_path_factory.mktemp("runs") / "plain"))
    return Page(page.read_text(encoding="utf-8"))


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    source = write_report(write_full(tmp_path)).read_text(encoding="utf-8")
    page = Page(source)
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    assert not [item for item in page.attributes if item[1] in ("src", "href", "srcset", "data") or "://" in item[2]]
    assert "@import" not in source
    assert "url(" not in source
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_accuracy_tables_hold_every_metric(full):
    metrics = results().metrics
    ranked, decided = full.table("metric", "%"), full.table("metric", "at 0.5, %", "tuned, %", "@n, %")
    shown = {name: row[0] for name, row in ranked.items()}
    for name, row in decided.items():
        shown |= {name: row[0], f"{name}@tuned": row[1], f"{name}@n": row[2]}
    shown = {name: float(cell) for name, cell in shown.items() if cell != "–"}
    assert shown == {name: round(value, 2) for name, value in metrics.items()}


def test_every_class_with_its_name_as_it_is(full):
    rows = full.table("class")
    expected = results().per_class
    assert set(rows) == set(class_names(len(expected)))
    for score in expected:
        _, ap, positives, threshold = rows[score.name]
        assert ap == ("–" if score.ap_percent is None else f"{score.ap_percent:.2f}")
        assert (int(positives), float(threshold)) == (score.positives, round(score.threshold, 3))
    shown = [float(row[1]) for row in rows.values() if row[1] != "–"]
    assert shown == sorted(shown, reverse=True)
    assert "b" not in full.tags


def test_latency_table_joins_accuracy(full):
    rows = [row for table in full.tables if table[0][0] == "what" for row in table[1:]]
    mean = {"onnx-fp32": "78.12", "onnx-fp16": "78.08", "onnx-int8": "75.02", "torch eager": "78.12"}
    for row, source in zip(rows, bench().rows, strict=True):
        assert row[0] == source.name
        assert row[1:3] == ["local", str(source.threads)]
        timing = source.timing
        if timing is None:
            assert row[3:] == ["–"] * 9 + ["skipped: openvino is not installed"]
            continue
        assert [float(cell) for cell in row[3:5]] == [round(value, 2) for value in (timing.median_ms, timing.p90_ms)]
        assert row[5:8] == ["–"] * 3
        assert row[8] == ("–" if source.size_bytes is None else f"{source.size_bytes / 1e6:.2f}")
        assert row[9:11] == [mean[row[0]], "–"]
        speedup = source.speedup
        assert row[11] == f"{speedup.value:.2f}x [{speedup.low:.2f}, {speedup.high:.2f}]"
        assert row[12].split(",")[0] == ("spread" if (row[0], row[2]) == ("onnx-fp16", "2") else "stable")
        assert ("FAILED" in row[12]) == (row[0] == "onnx-int8")


def test_best_latency_is_of_an_artifact_that_passed(full):
    assert "6.41ms" in full.text  # onnx-fp32, 2 threads; the failed int8 has 4.0 ms
    assert "onnx-fp32, 2 threads, 4.2x as fast as torch eager" in full.text


def test_the_size_is_of_the_artifact_with_the_best_latency(full):
    assert "13.7MB" in full.text  # onnx-fp32; onnx-fp16 is smaller but slower


def test_teacher_next_to_student(full):
    rows, values = full.table("", "student", "teacher"), results()
    student, teacher = values.metrics["mAP"], values.teacher.metrics["mAP"]
    assert rows["mAP, %"] == [f"{student:.2f}", f"{teacher:.2f}", f"{student - teacher:+.2f} points"]
    assert rows["parameters"] == ["3.412 M", "47.12 M", "7.2 %"]
    assert rows["multiply-adds"] == ["355.1 M", "31.40 G", "1.1 %"]


def test_a_teacher_from_a_weights_file_has_no_figures(tmp_path):
    teacher = TeacherFacts(model="resnet101", image_size=448, run="teacher.safetensors")
    values = results().model_copy(update={"teacher": teacher})
    page = Page(write_report(write_minimal(tmp_path, values)).read_text(encoding="utf-8"))
    assert page.table("", "student", "teacher")["parameters"] == ["3.412 M", "–", "–"]
    assert "was not scored" in page.text


def test_what_was_merged_is_shown_once_for_artifacts_merged_alike(full):
    merges = [table for table in full.tables if "parameters before" in table[0]]
    assert len(merges) == 1
    merge = manifest("onnx-fp32", []).merge
    rows = {row[0]: row[1:] for row in merges[0][1:]}
    for title, part in (("backbone", "_backbone"), ("head", "_head"), ("whole model", "")):
        counts = []
        for what in ("params", "macs"):
            counts += [getattr(size, f"{what}{part}") for size in (merge.before, merge.after)]
        assert [float(cell.split()[0]) for cell in rows[title]] == pytest.approx(
            [count / 1e6 for count in counts], rel=5e-4
        )
    assert "onnx-fp16, onnx-fp32, onnx-int8" in full.text


def test_curves_are_the_recorded_values(full):
    """A line is right if its pixels are an affine map of the values, epoch to the right and larger values up."""
    entries = history()
    terms = [
        [entry.loss for entry in entries],
        *([entry.terms[name] for entry in entries] for name in entries[0].terms),
    ]
    logs = [[math.log(value) for value in line] for line in terms]
    plain = [[getattr(entry, key) for entry in entries] for key in ("val_map_percent", "lr")]
    assert len(full.lines) == len(logs) + len(plain)
    for line, values in zip(full.lines, logs + plain, strict=True):
        x, y = np.array(line).T
        assert np.corrcoef(x, [entry.epoch for entry in entries])[0, 1] == pytest.approx(1, abs=1e-5)
        assert np.corrcoef(y, values)[0, 1] == pytest.approx(-1, abs=1e-3)


def test_missing_parts_are_said_and_nothing_is_zero(minimal):
    assert minimal.text.count("not measured yet: run mlkdc bench ") == 2
    assert minimal.text.count("not exported yet: run mlkdc export ") == 3
    assert "teacher" not in minimal.text.split("The resolved recipe")[0]
    cells = [cell for table in minimal.tables for row in table for cell in row[1:]]
    assert [cell for cell in cells if cell in ("0", "0.00")] == ["0"]  # the class without a positive has 0 of them


def test_one_epoch_without_validation(tmp_path):
    folder = write_minimal(tmp_path)
    write_epochs(folder, [history()[0].model_copy(update={"val_map_percent": None})])
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "Validation mAP" not in page.text
    assert "Learning rate" in page.text


def test_averaged_weights_and_which_were_kept(tmp_path):
    folder = write_minimal(tmp_path, results().model_copy(update={"kept_epoch": 3, "kept_average": True}))
    averages = [70.5, 71.25, 72.125, 69.0]
    entries = []
    for entry, average in zip(history()[:4], averages, strict=True):
        entries.append(entry.model_copy(update={"val_map_ema_percent": average}))
    write_epochs(folder, entries)
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    rows = (folder / "report.md").read_text(encoding="utf-8").split("| epoch | loss |")[1].splitlines()
    assert [row.split("|")[4].strip() for row in rows[2:6]] == ["70.50", "71.25", "72.12", "69.00"]
    assert rows[0] == " validation mAP, % | averaged, % | learning rate |"
    assert any(abs(np.corrcoef(np.array(line).T[1], averages)[0, 1] + 1) < 1e-3 for line in page.lines)
    assert "after epoch 3, averaged" in page.text
    assert "chosen on" not in page.text


def test_the_last_of_many_epochs_is_shown():
    epochs = [history()[0].model_copy(update={"epoch": number}) for number in range(1, 52)]
    shown = [int(row[0]) for row in history_table(epochs).rows]
    assert shown[-1] == 51
    assert len(shown) <= MOST_EPOCHS
    assert shown == sorted(shown)


def test_no_history_at_all(tmp_path):
    folder = write_minimal(tmp_path)
    (folder / "metrics.jsonl").unlink()
    page = Page(write_report(folder).read_text(encoding="utf-8"))
    assert "not recorded: there is no metrics.jsonl" in page.text
    assert not page.lines


def test_metrics_without_tuned_thresholds(tmp_path):
    metrics = {name: value for name, value in results().metrics.items() if "tuned" not in name}
    metrics["new figure"] = 12.345
    values = results().model_copy(update={"teacher": None, "metrics": metrics})
    page = Page(write_report(write_minimal(tmp_path, values)).read_text(encoding="utf-8"))
    assert "tuned" not in page.table("metric")
    assert page.table("metric", "%")["new figure"][0] == "12.35"


def test_two_artifacts_at_the_same_spot(tmp_path):
    """Equal latency and accuracy, in a chart with one value on each axis."""
    folder = write_full(tmp_path)
    rows = []
    for row in bench().rows:
        if row.name == "onnx-fp32":
            rows.append(row.model_copy(update={"timing": row.timing.model_copy(update={"median_ms": 5.0})}))
    bench_of(rows).save(folder)
    source = write_report(folder).read_text(encoding="utf-8")
    assert "nan" not in source.split("The resolved recipe")[0].replace("naïve", "")


def test_artifact_table_holds_the_parity_check(full):
    rows = full.table("artifact")
    for name, drop, passed in (("onnx-fp32", 0, True), ("onnx-fp16", 0.04, True), ("onnx-int8", 3.1, False)):
        source = manifest(name, [], drop, passed)
        comparison, figures = source.parity.comparison, source.parity.figures
        verdict, images, largest, flips, torch, artifact, worst, size, _, shape = rows[name]
        assert verdict == ("ok" if passed else "FAILED")
        assert (int(images), int(flips)) == (comparison.images, figures.label_flips)
        assert float(largest) == pytest.approx(figures.max_probability_difference, rel=0.02)
        assert float(torch) == comparison.map_torch_percent
        assert float(artifact) == round(figures.map_artifact_percent, 2)
        assert worst.split() == [f"{figures.worst_class_drop_points:.2f}", "zebra"]
        assert float(size) == source.files["model.onnx"].size_bytes / 1e6
        assert shape == "float32 1×3×224×224"
    assert (
        "probability by 0.001, 0.1 % of the decisions, mAP by 0.1 points, the worst class's AP by 5 points" in full.text
    )


def test_the_steps_of_a_quantization_are_shown_with_the_drop_of_each(full):
    steps = manifest("onnx-int8", []).quantization.steps
    rows = full.table("step", "layers in float", "mAP, %", "drop of mAP, points", "worst class, drop in points")
    assert list(rows) == [step.step for step in steps]
    for step in steps:
        kept, mean, drop, worst, enough = rows[step.step]
        assert kept == (", ".join(step.keep) or "none")
        assert float(mean) == round(step.figures.map_artifact_percent, 2)
        assert float(drop) == step.figures.map_drop_points
        assert worst == f"{step.figures.worst_class_drop_points:.2f} zebra"
        assert enough == "no"


def test_what_came_of_the_steps_is_said(tmp_path):
    folder = write_full(tmp_path)
    made = manifest("onnx-int8", class_names(20))
    promise = Promise(
        images=(245, 245),
        chosen=("outliers clipped", "head in float"),
        figures=figures(3.3, 0.3, 77),
        map_drop_interval_points=(2.5, 4.5),
        firm=False,
        doubt="a test",
    )
    report = made.quantization.model_copy(update={"chosen": "head in float", "promise": promise})
    made = made.model_copy(update={"quantization": report})
    write_manifest(folder, "onnx-int8", made.model_copy(update={"status": "failed"}))
    assert "a weak promise" not in write_report(folder).read_text(encoding="utf-8")
    write_manifest(folder, "onnx-int8", made)
    page = write_report(folder)
    for text in (Page(page.read_text(encoding="utf-8")).text, page.with_suffix(".md").read_text(encoding="utf-8")):
        assert "256 images of the train split" in text
        assert re.search(r"chosen:? *head in float", text)
        assert "both ways: mAP drops by 3.30 (2.50 to 4.50), AP of zebra drops by 6.60; a weak promise: a test" in text


def test_a_gain_is_a_negative_drop_and_rounding_no_drop_at_all(tmp_path):
    folder = write_full(tmp_path)
    for name, drop in (("onnx-fp32", -0.3), ("onnx-fp16", -0.0004)):
        changed = manifest(name, class_names(20)).model_copy(update={"parity": parity(drop)})
        write_manifest(folder, name, changed)
    page = write_report(folder)
    rows = Page(page.read_text(encoding="utf-8")).table("artifact")
    assert rows["onnx-fp32"][6] == "-0.60 zebra"
    assert rows["onnx-fp16"][6] == "0.00 zebra"
    for path in (page, page.with_suffix(".md")):
        assert "-0.00" not in path.read_text(encoding="utf-8")


def test_figures_not_to_be_relied_on_are_set_apart(full):
    assert ("td", "class", "l bad") in full.attributes
    assert len([item for item in full.attributes if item[2].endswith(" bad")]) == 4  # 1 spread, 3 failed


def test_an_artifact_that_gave_nan_has_no_figures(tmp_path):
    folder = write_full(tmp_path)
    comparison = parity().comparison.model_copy(update={"figures": None})
    failed = parity(passed=False).model_copy(update={"comparison": comparison})
    changes = {"parity": failed, "status": "failed"}
    write_manifest(folder, "onnx-fp32", manifest("onnx-fp32", class_names(20)).model_copy(update=changes))
    rows = Page(write_report(folder).read_text(encoding="utf-8")).table("artifact")
    assert rows["onnx-fp32"][:7] == ["FAILED", "490", "–", "–", "78.12", "–", "–"]


def test_gradients_by_term_of_the_last_epoch_that_has_them(tmp_path):
    folder = copy_raw(tmp_path / "run", "format2")
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    earlier = json.loads(lines[0])
    earlier["gradients"] = {"bce": {"norm": 3, "share": 0.25, "logits_norm": 1, "weight": 1, "risen": 1}}
    path.write_text("\n".join([json.dumps(earlier), *lines[1:]]), encoding="utf-8")
    columns = ("weight", "share at first, %", "share, %", "norm at the last map", "norm at the logits")
    rows = Page(write_report(folder).read_text(encoding="utf-8")).table("term", *columns)
    assert rows["bce"] == ["1", "25.0", "80.0", "12.5", "6.25"]
    assert rows["cd"] == ["1", "–", "3.8", "0.6", "–"]
    markdown = (folder / "report.md").read_text(encoding="utf-8")
    assert "| mld | 10 | – | 16.0 | 2.5 | 1.5 |" in " ".join(markdown.split(" "))
    # Of the earlier lines, of a version that did not measure, nothing is said.
    notes = read_json(folder / "report.json")["notes"]
    assert [note for note in notes if "gradient of" in note] == [
        "In training the gradient of id is 0.002 times that of bce at the last feature map, so it hardly moves the "
        "student: give it a share with `--set distill.balance.id=0.3`."
    ]
