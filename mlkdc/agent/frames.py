"""What goes through the pipe, in both directions: a JSON object and some bytes, each with its length in front.

After the lengths as text, so that a program of any age of Python can write one.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

#: Comes before the first frame: a login script may print something first.
MAGIC = b"\nMLKDC-AGENT-1\n"
HEAD = 22  # bytes: "%010d %010d\n"
#: Each side says that it is there every so often, and gives the other up after a silence.
BEAT_SECONDS = 5.0
SILENCE_SECONDS = 30.0

Values = dict[str, Any]
Read = Callable[[int], bytes]


class Frame(NamedTuple):
    """One message."""

    values: Values
    blob: bytes = b""


class Closed(Exception):
    """The other side is gone."""


def packed(frame: Frame) -> bytes:
    """The frame as it is sent."""
    text = json.dumps(frame.values).encode()
    return b"%010d %010d\n" % (len(text), len(frame.blob)) + text + frame.blob


def receive(read: Read) -> Frame:
    """The next frame.

    Args:
        read: up to so many bytes; none at the end.

    Raises:
        Closed: there is none.
    """
    lengths = _exactly(read, HEAD).split()
    values = json.loads(_exactly(read, int(lengths[0])))
    return Frame(values, _exactly(read, int(lengths[1])))


def _exactly(read: Read, count: int) -> bytes:
    parts: list[bytes] = []
    missing = count
    while missing:
        part = read(missing)
        if not part:
            raise Closed
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
