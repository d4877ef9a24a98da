"""The study of students on photos: its rows, its baseline, its page."""

import json
import re
import shlex
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
import timm
from safetensors.torch import load_file, save_file
from samples import write_photos
from sklearn.metrics import average_precision_score
from test_studies import settings_of

from mlkdc.recipe import load_recipe
from mlkdc.records.run import Run
from mlkdc.train.checks import check_heads, check_names

ROOT = Path(__file__).parents[2]
PLAIN = ROOT / "benchmarks" / "plain.py"


def every_planned_row():
    students = import_module("students")
    for photos in students.BUDGETS:
        for group in students.GROUPS.values():
            yield from group(photos, "photos", "weights")


def test_every_row_is_a_training_of_its_own_that_can_be_run() -> None:
    planned = list(every_planned_row())
    assert len({row.folder for row in planned}) == len({row.key for row in planned}) == len(planned)
    for row in planned:
        _, student, image_size, name, epochs, seed = row.key
        if name == "plain":
            assert row.command[:2] == ["python", "benchmarks/plain.py"]
            continue
        recipe = load_recipe(*settings_of(row.command))
        check_heads(recipe, check_names(recipe))
        assert (recipe.student.model, recipe.data.image_size) == (student, image_size)
        assert (recipe.train.epochs, recipe.seed) == (epochs, seed)


def test_all_rows_of_a_data_set_share_their_teacher_and_its_views() -> None:
    teachers, views = {}, {}
    for row in every_planned_row():
        if row.key[3] in ("plain", "old defaults", "each view twice"):
            continue
        recipe = load_recipe(*settings_of(row.command))
        views.setdefault(row.key[0], set()).add((recipe.data.augment.views, recipe.data.augment.seed))
        if recipe.teacher is not None:
            teachers.setdefault(row.key[0], set()).add(recipe.teacher.model_dump_json())
    assert all(len(kinds) == 1 for kinds in [*teachers.values(), *views.values()])


@pytest.mark.converter
def test_a_run_becomes_a_row(finished_run: Path) -> None:
    records, run = import_module("student_records"), Run(finished_run)
    row = records.StudentRow.of("photos", "l2d", run, "mlkdc distill")
    assert row.map_percent == pytest.approx(mean(row.class_ap_percent.values()))
    assert row.terms == {"bce": 1, "mld": 10, "cd": 1, "id": 1}
    assert sum(row.shares.values()) == pytest.approx(1)
    teacher = run.results.teacher
    assert teacher is not None
    assert row.teacher_map_percent == teacher.metrics["mAP"]


def test_the_baseline_is_short_and_not_ours() -> None:
    text = PLAIN.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 60
    assert not re.search(r"^(import|from) mlkdc", text, re.MULTILINE)


@pytest.mark.slow
def test_the_baseline_scores_the_model_it_saves(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", count=96)
    table = photos / "labels.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("test", "val"), encoding="utf-8")
    weights, out = tmp_path / "weights.safetensors", tmp_path / "out"
    model = timm.create_model("mobilenetv2_100", num_classes=0)
    save_file(model.state_dict(), weights)
    subprocess.run([sys.executable, PLAIN, photos, weights, "1", "0", out], check=True)
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    model = timm.create_model("mobilenetv2_100", num_classes=len(scores["classes"])).eval()
    model.load_state_dict(load_file(out / "model.safetensors"))
    import torch
    from PIL import Image

    rows = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    targets, logits = [], []
    for image, labels, split in rows:
        if split == "val":
            pixels = np.asarray(Image.open(photos / image).convert("RGB").resize((96, 96), Image.Resampling.BILINEAR))
            normalized = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
            with torch.inference_mode():
                logits.append(model(torch.tensor(normalized).float().permute(2, 0, 1)[None])[0].numpy())
            targets.append([name in labels.split("|") for name in scores["classes"]])
    expected = 100 * average_precision_score(np.array(targets), np.array(logits))
    assert scores["map_percent"] == pytest.approx(expected, abs=0.5)


def test_the_page_compares_rows_of_one_seed() -> None:
    render, records = import_module("render_students"), import_module("student_records")
    rows = []
    for name, scores in {"vanilla": (50.0, 52.0), "hint": (53.0, 54.0, 60.0), "plain": (51.0, 50.0)}.items():
        for seed, score in enumerate(scores):
            values = {"photos": "corel5k", "student": "mobilenetv2", "image_size": 96, "epochs": 20}
            row = {**values, "row": name, "seed": seed, "map_percent": score, "command": shlex.join([name, str(seed)])}
            row |= {"versions": {}, "machine": {"cpu": "one", "cores": 2, "system": "Linux", "device": "cpu"}}
            row |= {"teacher_map_percent": 57.0 if name == "hint" else None}
            rows.append(records.StudentRow.model_validate(row))
    page = "\n".join(render.photos("corel5k", rows))
    assert "| hint |  | 0, 1, 2 | 55.67 ± 3.79 | +2.50 | +3.00 +2.00 |" in page
    aim = "aim: a mean of 2 or more, and every seed above 0: met so far (2 of 3 seeds)"
    assert f"hint over vanilla: +3.00, +2.00 (mean +2.50); {aim}." in page
    assert "vanilla over plain: -1.00, +2.00 (mean +0.50); aim: a mean of 0 or more: met so far (2 of 3 seeds)." in page
    assert "Teacher over vanilla: +6.00; aim: 4 or more: met." in page
