"""`mlkdc reproduce`: rows are trained, resumed, and printed next to the published figures."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlkdc.cli import main
from mlkdc.commands.reproduce import load_table, metric, table_names
from mlkdc.commands.reproduce.train import reproduce
from mlkdc.errors import Interrupted, UsageError
from mlkdc.progress import Progress
from mlkdc.records.reproduction import Reproduction
from mlkdc.records.results import ClassScore, Results
from mlkdc.records.run import Run

HEAD = "{kind: compact, dim: 16, ffn: 16, heads: 2}"
TINY = [
    "data.path=digits",
    "data.digits_images=100",
    "data.image_size=32",
    "data.augment={randaugment: false, flip: false}",
    *(
        f"{part}.{key}={value}"
        for part in ("student", "teacher")
        for key, value in (("weights", "none"), ("head", HEAD))
    ),
    *(f"{part}={value}" for part, value in (("student.model", "mobilenetv2"), ("student.width", 0.25))),
    "teacher.model=resnet10t",
    *(f"{part}train.{key}={value}" for part in ("", "teacher.") for key, value in (("epochs", 1), ("batch_size", 32))),
]
ROW = "repvgg_a2-repvgg_a0"


class Listener(Progress):
    """Keeps what is said, and is stopped by Ctrl-C when a training of ``stop`` begins."""

    def __init__(self, stop: str = "nothing") -> None:
        self.said: list[str] = []
        self.stop = stop

    def say(self, text: str) -> None:
        self.said.append(text)

    def step(self, figures: object) -> None:
        if self.stop in [line for line in self.said if line.startswith("training")][-1]:
            raise KeyboardInterrupt


def trained(heard: Listener) -> list[str]:
    return [line.split()[2] for line in heard.said if line.startswith("training")]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple]:
    """Exit code, standard output and standard error of a command in a fresh folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["mlkdc", *arguments])
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, *capsys.readouterr()

    return call


@pytest.mark.slow
def test_rows_are_trained_once_resumed_and_compared(tmp_path: Path) -> None:
    def call(heard: Listener, **changes: object) -> tuple[Reproduction, Path]:
        given = {"rows": [ROW], "methods": ["vanilla", "l2d"], "settings": TINY, "out": tmp_path / "out", **changes}
        return reproduce("paper/l2d-table1", **given, command="the command", progress=heard)

    heard = Listener(stop="(l2d)")
    with pytest.raises(Interrupted, match="repeat the same command to resume"):
        call(heard)
    assert trained(heard) == ["(vanilla)", "(vanilla)", "(l2d)"]  # the student alone, the teacher, the student

    heard = Listener()
    result, path = call(heard)
    assert trained(heard) == ["(l2d)"]
    assert any(line.startswith("teacher: reusing") for line in heard.said)
    assert Reproduction.load_from(path) == result
    assert (result.command, result.seed, list(result.settings)) == ("the command", 0, TINY)
    assert [row.method for row in result.rows] == ["teacher", "vanilla", "l2d"]

    # Independent of the tables' reader: what L2D prints in table 1, and what the run folders hold.
    printed = {"teacher": (72.71, 74.11, 68.63), "vanilla": (70.02, 72.49, 66.77), "l2d": (72.81, 74.59, 69.49)}
    for row in result.rows:
        results = json.loads((tmp_path / "out" / row.run / "results.json").read_text())
        assert results["model"]["model"] == ("resnet10t" if row.method == "teacher" else "mobilenetv2")
        for (name, figure), published in zip(row.metrics.items(), printed[row.method], strict=True):
            ours = results["metrics"][name if name == "mAP" else f"{name}@n"]
            assert (figure.published, figure.ours) == (published, ours)
            assert figure.difference == pytest.approx(ours - published)
            shown = name if name == "mAP" else f"{name} ({name}@n)"
            assert f"| {row.method} | {shown} | {published:.2f} | {ours:.2f} |" in path.with_suffix(".md").read_text()

    heard = Listener()
    again, _ = call(heard, methods=["vanilla"])
    assert not trained(heard)
    assert again.rows == result.rows  # what is finished next to the chosen method is shown too
    with pytest.raises(UsageError, match=r"vanilla-seed0 holds a run with other settings; .* --out ANOTHER"):
        call(Listener(), settings=[*TINY, "train.lr=0.5"])
    recipe = Run(tmp_path / "out" / f"{ROW}-l2d-seed0").recipe
    assert recipe.distill.terms == {}
    assert recipe.train.lr == 1e-4


@pytest.mark.slow
def test_a_table_without_teachers_and_its_metrics(tmp_path: Path) -> None:
    settings = [setting for setting in TINY if not setting.startswith("teacher")]
    result, _ = reproduce(
        "paper/mskd-table3", methods=["vanilla"], settings=settings, seed=3, out=tmp_path, progress=Listener()
    )
    (row,) = result.rows
    results = json.loads((tmp_path / "resnet34-vanilla-seed3" / "results.json").read_text())
    assert results["seed"] == 3
    precision, recall = results["metrics"]["CP"], results["metrics"]["CR"]
    first = row.metrics["P@1"]
    assert (first.published, first.ours, first.difference) == (79.46, precision, pytest.approx(precision - 79.46))
    harmonic = 0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)
    assert row.metrics["CF1"].ours == pytest.approx(harmonic)


def test_names_of_metrics() -> None:
    cow = ClassScore(name="cow", ap_percent=33.0, positives=3, threshold=0.5)
    results = Results.model_construct(metrics={"mAP": 50.0, "CP": 80.0, "CR": 20.0}, per_class=(cow,))
    assert metric(results, "mAP") == 50
    assert metric(results, "F1(CP,CR)") == 32
    assert metric(results, "AP(cow)") == 33
    assert metric(results, "AP(sheep)") is None


def test_without_a_table_they_are_listed(command: Callable[..., tuple]) -> None:
    code, out, _ = command("reproduce")
    assert code == 0
    assert all(name in out for name in table_names())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["paper/l2d-tabel1"], "did you mean paper/l2d-table1"),
        (["paper/l2d-table1", "--rows", "repvgg_a2-repvgg_a1"], f"has no row .*did you mean {ROW}"),
        (["paper/l2d-table1", "--methods", "l2d,reviewk"], "has no method 'reviewk'; did you mean reviewkd"),
        (["paper/l2d-table1"], "is on MS-COCO-2014 .*instances_.*give its folder: --data PATH"),
        (["paper/mskd-table2", "--data", "."], "several data sets; .* --rows: mirflickr-resnet34 on MIRFLICKR-25k"),
        (["paper/mskd-table2", "--data", ".", "--rows", "coco-swin_t"], "is not laid out as 'coco'"),
        (
            ["paper/l2d-table1", "--data", ".", "--set", "train.epoch=3"],
            "train.epoch: unknown key; did you mean epochs",
        ),
        (["paper/l2d-table1", "--data", ".", "--set", "student.model=resnet20O"], "student.model: unknown model"),
        (["paper/l2d-table1", "--data", ".", "--set", "student.head.kind=linear"], "student.head.kind is linear"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(
    command: Callable[..., tuple], tmp_path: Path, arguments: list[str], words: str
) -> None:
    code, _, err = command("reproduce", *arguments)
    assert code == 2
    assert re.search(words, err), err
    assert not list(tmp_path.glob("runs/*/*"))


def test_every_table_is_there() -> None:
    expected = {f"paper/l2d-table{n}" for n in range(1, 5)} | {f"paper/l2d-supplement-table{n}" for n in range(1, 5)}
    expected |= {f"paper/mdkd-table{n}" for n in range(1, 6)} | {f"paper/mskd-table{n}" for n in range(1, 5)}
    assert set(table_names()) == expected
    assert load_table("paper/l2d-table4").methods["mld+cd"]["distill"] == {"method": "l2d", "terms": {"id": 0}}
