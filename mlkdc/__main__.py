"""``python -m mlkdc``: the command line."""

from mlkdc.cli import main

main()
