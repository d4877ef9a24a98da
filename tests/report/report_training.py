"""What a training writes into a synthetic run folder: results.json and metrics.jsonl."""

import random

from mlkdc.records.machine import Machine
from mlkdc.records.results import ClassScore, DataFacts, Epoch, ModelFacts, Results, TeacherFacts

MACHINE = Machine(cpu="Some CPU @ 2.50 GHz", cores=2, memory_gib=23.5, system="Linux 6.1", device="cpu")
VERSIONS = {"torch": "2.15.0", "timm": "1.0.31", "numpy": "2.3.1"}
AWKWARD = ["<b>bold</b>", "salt & pepper", "naïve 東京", "a|b", "back`tick_and*star", '"quoted"']
EPOCHS = 24


def class_names(count: int) -> list[str]:
    """The awkward names first, then plain ones."""
    return (AWKWARD + [f"class {number}" for number in range(count)])[:count]


def results(count: int = 20, seed: int = 0) -> Results:
    """A results.json with ``count`` classes, the last without a positive image."""
    draw = random.Random(seed)
    decided = ["OP", "OR", "OF1", "CP", "CR", "CF1"]
    names = ["mAP", *decided, *(f"{name}@tuned" for name in decided), "OF1@n", "CF1@n", "P@1", "R@1"]
    scores = []
    for name in class_names(count):
        ap, positives, threshold = draw.uniform(5, 99), draw.randint(1, 900), draw.uniform(0.1, 0.9)
        scores.append(ClassScore(name=name, ap_percent=ap, positives=positives, threshold=threshold))
    scores[-1] = ClassScore(name=scores[-1].name, ap_percent=None, positives=0, threshold=0.5)
    return Results(
        name="l2d-mobilenet",
        method="l2d",
        recipe_hash="0123456789ab",
        command="mlkdc distill --recipe l2d-mobilenet --data 'my photos/'",
        seed=0,
        started="2026-11-21T12:30:00+00:00",
        training_seconds=1234.5,
        versions=VERSIONS,
        machine=MACHINE,
        data=DataFacts(
            name="my photos",
            path="my photos/",
            layout="csv",
            images={"train": 3512, "val": 490, "test": 997},
            classes=count,
            split_from="official",
            skipped=("broken/one & two.jpg",),
        ),
        model=ModelFacts(
            model="mobilenetv2",
            width=1.0,
            head="compact",
            image_size=224,
            params=3_412_345,
            params_backbone=2_223_872,
            params_head=1_188_473,
            macs=355_123_456,
            macs_backbone=299_123_456,
            macs_head=56_000_000,
        ),
        teacher=TeacherFacts(
            model="resnet101",
            image_size=448,
            run="runs/teacher-0123",
            params=47_123_456,
            macs=31_400_000_000,
            metrics={name: draw.uniform(70, 95) for name in names},
        ),
        scored_on="test",
        thresholds_from="val",
        thresholds=tuple(score.threshold for score in scores),
        metrics={name: draw.uniform(40, 90) for name in names},
        classes_without_positive=1,
        per_class=tuple(scores),
    )


def history(epochs: int = EPOCHS) -> list[Epoch]:
    """metrics.jsonl: falling terms of very different size, a one-cycle rate, a rising mAP."""
    draw = random.Random(1)
    entries = []
    for epoch in range(1, epochs + 1):
        terms = {
            "bce": 40 / epoch**0.7,
            "mld": 9 / epoch**0.5,
            "cd": 0.8 / epoch**0.3,
            "id": 0.3 + draw.uniform(0, 0.05),
        }
        entries.append(
            Epoch(
                epoch=epoch,
                step=40 * epoch,
                lr=1e-4 * min(epoch / 5, (epochs + 1 - epoch) / (epochs - 4)),
                loss=sum(terms.values()),
                terms=terms,
                images_per_second=draw.uniform(60, 70),
                seconds=52.0,
                val_map_percent=80 - 60 / epoch**0.6,
            )
        )
    return entries
