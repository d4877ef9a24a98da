"""``python -m mlkdc``: the command line."""

from mlkdc.cli import main

# Processes that Python starts anew import this module too.
if __name__ == "__main__":
    main()
