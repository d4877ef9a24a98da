"""What goes through the pipe, in both directions: a JSON object and some bytes, each with its length in front.

After the lengths as text, so that a program of any age of Python can write one.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

#: Comes before the first frame, and on stderr before any error: a login script may print something first.
MAGIC = b"\nMLKDC-AGENT-1\n"
HEAD = 22  # bytes: "%010d %010d\n"
#: Bytes that are read at once, so that a length that is a lie takes no memory.
PART = 1 << 20
LONGEST_TEXT = 1 << 26
#: The agent takes model files; what comes back is answers.
LONGEST_FILE = 1 << 33
LONGEST_ANSWER = 1 << 28
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


class Nonsense(Exception):
    """The other side sends what is no frame."""


def packed(frame: Frame) -> bytes:
    """The frame as it is sent."""
    text = json.dumps(frame.values).encode()
    return b"%010d %010d\n" % (len(text), len(frame.blob)) + text + frame.blob


def receive(read: Read, longest: int = LONGEST_FILE) -> Frame:
    """The next frame.

    Args:
        read: up to so many bytes; none at the end.
        longest: number of bytes that are taken with it.

    Raises:
        Closed: there is none.
        Nonsense: it is none, or longer.
    """
    head = _exactly(read, HEAD)
    lengths = head.split()
    if len(lengths) != 2 or not (lengths[0] + lengths[1]).isdigit():
        raise Nonsense(repr(head))
    text, blob = int(lengths[0]), int(lengths[1])
    if text > LONGEST_TEXT or blob > longest:
        raise Nonsense(repr(head))
    try:
        values = json.loads(_exactly(read, text))
    except (ValueError, RecursionError) as error:
        raise Nonsense(str(error)) from None
    if not isinstance(values, dict):
        raise Nonsense(repr(values)[:80])
    return Frame(values, _exactly(read, blob))


def _exactly(read: Read, count: int) -> bytes:
    parts: list[bytes] = []
    missing = count
    while missing:
        part = read(min(missing, PART))
        if not part:
            raise Closed
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
