"""The command line: the only place that prints or exits. Heavy imports wait until a command runs."""

import sys

import click

from mlkdc import __version__
from mlkdc.cli.artifacts import evaluate, export, predict, report
from mlkdc.cli.bench import bench
from mlkdc.cli.listing import ls
from mlkdc.cli.look import cp, data, doctor, validate
from mlkdc.cli.reproduce import reproduce
from mlkdc.cli.train import distill, run
from mlkdc.errors import MlkdcError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mlkdc")
def cli() -> None:
    """Distill, re-parameterize, export and measure multi-label image models for devices.

    Start with:  mlkdc run --recipe quickstart
    """


for command in (run, distill, evaluate, export, bench, report, predict, reproduce, data, ls, cp, validate, doctor):
    cli.add_command(command)


def main() -> None:
    """Entry point. Exit codes: 0 done; 1 the job failed; 2 the command, recipe or data was wrong; 130 Ctrl-C."""
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped", err=True)
        sys.exit(130)
    except MlkdcError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
