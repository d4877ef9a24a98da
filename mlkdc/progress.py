"""What a long job reports to its caller; only the command line turns it into text."""

from collections.abc import Mapping


class Progress:
    """Hears of a job's progress. This one keeps silent; a caller subclasses it to show something."""

    def say(self, text: str) -> None:
        """One line of news."""

    def start(self, title: str, steps: int, done: int = 0) -> None:
        """A bar begins: ``steps`` in all, ``done`` of them already (a resumed run)."""

    def step(self, figures: Mapping[str, float]) -> None:
        """One step done. ``figures``: loss terms by name, ``lr``, ``images_per_second``."""

    def end(self) -> None:
        """The bar is done."""
