"""This side of the pipe to an agent: start it, ask, and say why it no longer answers."""

import contextlib
import os
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO, Any

from mlkdc.agent.frames import BEAT_SECONDS, LONGEST_ANSWER, MAGIC, Closed, Frame, Nonsense, Values, packed, receive
from mlkdc.devices.base import DeviceLost
from mlkdc.devices.bootstrap import greeting
from mlkdc.errors import MlkdcError, UsageError

CONNECT_SECONDS = 45.0
GOODBYE_SECONDS = 10.0
#: For what takes a moment there; signs of life do not count.
ANSWER_SECONDS = 900.0
CHATTER = 1 << 16

#: The error for how the program that carries the pipe ended: exit code, and what it wrote to stderr, once the agent has
#: spoken since then.
Explain = Callable[[int, str], MlkdcError]


class Channel:
    """A running agent.

    Args:
        name: of the device, for messages.
        command: gives a byte-clean pipe to Python's ``-c`` with :func:`mlkdc.devices.bootstrap.start_code`.
        explain: the error for an end that was not asked for.

    Raises:
        DeviceLost, UsageError: it did not start.
    """

    def __init__(self, name: str, command: Sequence[str], explain: Explain) -> None:
        self._name, self._explain = name, explain
        self._frames: queue.Queue[Frame | None] = queue.Queue()
        self._writing = threading.Lock()
        self._closing = threading.Event()
        self._heard = time.monotonic()
        self._unanswered = False
        self._nonsense = ""
        self._stalled = False
        self.started = False
        """Whether the agent has spoken: the device was reached, and has a Python."""
        # A pipe that nobody reads would fill up and stop the program.
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the channel
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, bufsize=0
            )
        except OSError as error:
            self._stderr.close()
            raise UsageError(f"{name}: could not start {command[0]}: {error.strerror or error}") from error
        for job in (self._listen, self._beat):
            threading.Thread(target=job, daemon=True).start()
        self._write(greeting())

    def ask(
        self,
        do: str,
        blob: bytes = b"",
        timeout_seconds: float = CONNECT_SECONDS,
        limit_seconds: float = ANSWER_SECONDS,
        **values: object,
    ) -> Frame:
        """Send a request and wait for its answer.

        Args:
            do: what the agent is to do.
            blob: bytes that go with it.
            timeout_seconds: without any sign of life; while the agent works it gives one every few seconds.
            limit_seconds: with signs of life and no answer.
            values: of the request.

        Raises:
            DeviceLost: no answer came.
            MlkdcError: the agent says that it could not.
        """
        request: Values = {"do": do, **values}
        self._unanswered = True
        self._write(packed(Frame(request, blob)))
        frame = self._answer(timeout_seconds, limit_seconds)
        self._unanswered = False
        if "error" in frame.values:
            raise MlkdcError(f"{self._name}: {frame.values['error']}")
        return frame

    def _answer(self, timeout_seconds: float, limit_seconds: float) -> Frame:
        """The next frame that is no mere sign of life."""
        asked = time.monotonic()
        while True:
            silent_seconds = time.monotonic() - max(asked, self._heard)
            if time.monotonic() - asked > limit_seconds:
                raise DeviceLost(f"{self._name} was lost: it has not answered within {limit_seconds:g} s")
            try:
                frame = self._frames.get(timeout=max(0.0, timeout_seconds - silent_seconds))
            except queue.Empty:
                # A large answer on a slow network is a sign of life before it is complete.
                if time.monotonic() - max(asked, self._heard) < timeout_seconds:
                    continue
                raise self._silent(timeout_seconds) from None
            if frame is None:
                raise self._ended()
            if "beat" not in frame.values:
                return frame

    def _silent(self, seconds: float) -> DeviceLost:
        return DeviceLost(f"{self._name} has been silent for {seconds:g} s: the connection stalled")

    def close(self) -> None:
        """Say goodbye; the agent removes its files, unless it was told to keep them."""
        if self._closing.is_set():
            return
        # Where it is gone already, its watchdog cleans up there; where it is still at work, the pipe's end stops it.
        with contextlib.suppress(MlkdcError):
            if self._process.poll() is None and not self._unanswered:
                self.ask("bye", timeout_seconds=GOODBYE_SECONDS)
        self._end()

    def _end(self) -> None:
        self._closing.set()
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=BEAT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            with self._writing:
                view = memoryview(data)
                while view:
                    view = view[self._process.stdin.write(view) :]
        except (OSError, ValueError):
            # The reader sees the same end, and says why.
            return

    def _listen(self) -> None:
        assert self._process.stdout is not None
        try:
            _skip_chatter(self._process.stdout.read)
            self.started = True
            while True:
                frame = receive(self._read, LONGEST_ANSWER)
                self._frames.put(frame._replace(values=_shown(frame.values)))
        except (Nonsense, RecursionError) as error:
            self._nonsense = str(error)
        except (Closed, ValueError):  # ValueError: closed on this side
            pass
        self._frames.put(None)

    def _read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        data: bytes = self._process.stdout.read(count)
        self._heard = time.monotonic()
        return data

    def _beat(self) -> None:
        while not self._closing.wait(BEAT_SECONDS):
            if not self._writing.locked():
                self._write(packed(Frame({"do": "beat"})))
            elif time.monotonic() - self._heard > CONNECT_SECONDS:
                # Nobody reads there: what is written would wait for ever.
                self._stalled = True
                self._process.kill()

    def _ended(self) -> MlkdcError:
        if self._stalled:
            return self._silent(CONNECT_SECONDS)
        if self._nonsense:
            # It need not end by itself.
            self._process.kill()
            self._process.wait()
            return DeviceLost(f"{self._name} was lost: what answers there is not mlkdc's agent ({self._nonsense})")
        code = self._process.wait()
        end = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, end - CHATTER))
        # What a login script wrote before the agent's first word says nothing of how it ends.
        said = self._stderr.read().rpartition(MAGIC)[2]
        return self._explain(code, _shown(said.decode(errors="replace")).strip())


def _shown(value: Any) -> Any:
    """The same JSON without what would steer the user's terminal; lines stay lines."""
    if isinstance(value, str):
        return "".join(letter if letter.isprintable() or letter in "\n\t" else "\ufffd" for letter in value)
    if isinstance(value, list):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {_shown(key): _shown(item) for key, item in value.items()}
    return value


def _skip_chatter(read: Callable[[int], bytes]) -> None:
    """What a login script prints comes before the agent's first word."""
    seen = b""
    while not seen.endswith(MAGIC):
        byte = read(1)
        if not byte:
            raise Closed
        if len(seen) > CHATTER:
            raise Nonsense(f"it sent {seen[:40]!r} and more")
        seen += byte
