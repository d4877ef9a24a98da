"""The command line: the only place that prints or exits. Heavy imports wait until a command runs."""

import gc
import signal
import sys

import click

from mlkdc import __version__
from mlkdc.cli.artifacts import evaluate, export, predict, report
from mlkdc.cli.bench import bench
from mlkdc.cli.ending import DEBUG, exit_code, flushed, prepare_streams
from mlkdc.cli.listing import ls
from mlkdc.cli.look import cp, data, doctor, validate
from mlkdc.cli.reproduce import reproduce
from mlkdc.cli.train import distill, run

# Imports and exporters make millions of objects that stay: with Python's own thresholds a tenth of an export is spent
# on looking through them again and again.
COLLECT_AFTER = (10_000, 20, 20)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mlkdc")
@click.option(DEBUG, is_flag=True, help="Show the traceback of an error; anywhere in the command.")
def cli(debug: bool) -> None:
    """Distill, re-parameterize, export and measure multi-label image models for devices.

    Start with:  mlkdc run --recipe quickstart
    """


for command in (run, distill, evaluate, export, bench, report, predict, reproduce, data, ls, cp, validate, doctor):
    cli.add_command(command)


def main() -> None:
    """Entry point. Exit codes: 0 done; 1 the job failed; 2 the command, recipe or data was wrong; 130 stopped."""
    gc.set_threshold(*COLLECT_AFTER)
    # What `timeout`, a container or a scheduler sends is to leave as little behind as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    prepare_streams()
    debug = DEBUG in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG]
    try:
        code = cli.main(arguments, standalone_mode=False) or 0
    # Of another package's code, a call of sys.exit is a fault like any other.
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        code = exit_code(error, debug)
    # The interpreter's end would look through all objects once more, for a second where torch is loaded.
    gc.freeze()
    sys.exit(flushed(code))
