"""Waiting for what another process does soon."""

import time
from collections.abc import Callable
from pathlib import Path


def waited_for(condition: Callable[[], object], seconds: float) -> bool:
    """Whether it comes true within some seconds."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return bool(condition())


def vanished(path: Path, seconds: float) -> bool:
    """Whether it is gone within some seconds."""
    return waited_for(lambda: not path.exists(), seconds)
