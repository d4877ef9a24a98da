"""Help as a newcomer reads it: nothing cut off, examples that work."""

import shlex

import click
import pytest
from click.testing import CliRunner

from mlkdc.cli import cli

NAMES = sorted(cli.commands)
EXPECTED = "run distill evaluate export bench report predict data ls cp validate doctor reproduce"


def help_of(*arguments: str) -> str:
    done = CliRunner().invoke(cli, [*arguments, "--help"], terminal_width=80)
    assert done.exit_code == 0
    return done.output


def test_every_command_is_listed_in_full() -> None:
    lines = help_of().splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines[1:] if line.endswith("...")]  # the first is the usage
    assert set(NAMES) == set(EXPECTED.split())


@pytest.mark.parametrize("name", NAMES)
def test_two_worked_examples(name: str) -> None:
    shown = help_of(name)
    assert max(map(len, shown.splitlines())) <= 80
    (_, listed) = shown.split("Examples:")
    examples = [line.strip() for line in listed.strip().splitlines()]
    assert len(examples) >= 2
    for example in examples:
        program, command, *arguments = shlex.split(example)
        assert (program, command) == ("mlkdc", name)
        # Parsed by the command itself: an option that does not exist, or a value it does not take, is an error.
        cli.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_explained(name: str) -> None:
    for parameter in cli.commands[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
