"""Every fault of a recipe at once: of its keys, its types and its names."""

import pytest
from click.testing import CliRunner

from mlkdc.cli import cli
from mlkdc.commands import check
from mlkdc.commands.check import read_recipe
from mlkdc.errors import RecipeError

NAMES = ("student.model=mobilnetv2", "distill.method=l2e", "targets=[onyx]", "data.layout=coko")
NAMED = ("student.model: unknown model", "unknown method 'l2e'", "targets: unknown target", "data.layout: unknown")


def faults(*settings: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read_recipe("quickstart", settings)
    return caught.value.faults


def test_names_are_told_with_types_and_keys() -> None:
    found = faults("train.lr=fast", "bench.run=3", *NAMES)
    assert len(found) == 2 + len(NAMES)
    for fault in ("train.lr: input should be a valid number", "bench.run: unknown key", *NAMED):
        assert sum(fault in line for line in found) == 1, (fault, found)


def test_without_torch_the_names_that_can_be_known_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "missing_training", lambda: ["torch"])
    found = faults("train.lr=fast", *NAMES)
    assert len(found) == 4
    for fault in NAMED[1:]:
        assert sum(fault in line for line in found) == 1, (fault, found)


@pytest.mark.parametrize(
    "settings",
    [
        # Of another method's terms and head, whose keys would say nothing of the default ones.
        ("distill.method=5", "distill.options.mld.nosuch=1"),
        # Without the other one no term would be left.
        ("distill.terms={bce: 0, mld: heavy}", "distill.method=vanilla"),
        ("student.head.kind=5", "student.head.residual=0.5"),
        ("teacher=5",),
        ("seed=no",),
    ],
)
def test_nothing_is_told_that_hangs_on_a_faulty_value(settings: tuple[str, ...]) -> None:
    found = faults("targets=[onyx]", *settings)
    assert len(found) == 2
    assert found[0].startswith(settings[0].partition("=")[0])


def test_a_name_is_told_whatever_else_is_wrong_in_its_section() -> None:
    found = faults(
        "student.width=yes",
        "student.model=mobilnetv2",
        "student.head.kind=zzz",
        "teacher.head.dim=wide",
        "teacher.model=resnet10l",
        "distill.form=ww",
        "distill.method=l2e",
        "data.image_size=big",
        "data.layout=coko",
        "targets=[3, onyx, 4, onnx-int9]",
    )
    expected = [
        "student.width: expected a number",
        "student.head.kind: input should be",
        "teacher.head.dim: input should be",
        "distill.form: input should be",
        "data.image_size: input should be",
        "targets.0: input should be",
        "targets.2: input should be",
        "targets: unknown target 'onyx'",
        "targets: ",
        "data.layout: unknown",
        "student.model: unknown model",
        "unknown method 'l2e'",
        "teacher.model: unknown model",
    ]
    assert len(found) == len(expected), found
    for fault in expected:
        assert any(fault in line for line in found), (fault, found)


@pytest.mark.parametrize("command", [("validate", "quickstart"), ("distill", "--recipe", "quickstart")])
def test_commands_tell_them_too(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, [*command, "--set", "train.lr=fast", "--set", "student.model=mobilnetv2"])
    assert isinstance(done.exception, RecipeError)
    for fault in ("quickstart: 2 faults", "train.lr: input should be a valid number", NAMED[0]):
        assert fault in str(done.exception)
