"""One page and one job at a time, between the thread that measures and those that serve."""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Condition

import numpy as np

from mlkdc.devices.base import DeviceLost
from mlkdc.devices.browser.messages import Alive, Facts, Job, Reply
from mlkdc.errors import MlkdcError

#: A page sends something every 2 s while it works and at least every POLL_SECONDS while it waits.
SILENT_SECONDS = 20.0
#: How long a worker may say nothing: it loads up to 30 MB over a network, or one call is that long.
STUCK_SECONDS = 180.0
POLL_SECONDS = 8.0
_LOOK_SECONDS = 0.25

GONE = "the page was closed or reloaded; keep it open and in front until mlkdc has ended"
SILENT = (
    f"the page said nothing for {SILENT_SECONDS:g} s; keep its screen on, the page in front and the network connected"
)


@dataclass(frozen=True)
class Task:
    """A job, and what the page may fetch for it.

    Args:
        file: of the artifact.
        pixels: ``uint8[n, 3, s, s]``.
    """

    job: Job
    file: Path
    pixels: np.ndarray


@dataclass
class _State:
    client: str | None = None
    facts: Facts | None = None
    task: Task | None = None
    reply: Reply | None = None
    messages: int = 0
    lost: str | None = None
    ended: bool = False
    heard: float = field(default_factory=time.monotonic)
    advanced: float = field(default_factory=time.monotonic)


class Exchange:
    """All methods may be called from any thread."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._state = _State()

    # For the server's threads.

    def connect(self, facts: Facts) -> str | None:
        """A secret with which this page names itself; None where a page is, or was, connected."""
        with self._condition:
            if self._state.client or self._state.ended:
                return None
            self._state.client = secrets.token_urlsafe(16)
            self._state.facts = facts
            self._hear()
            return self._state.client

    def is_client(self, name: str) -> bool:
        """Whether that is the connected page, which is alive then."""
        with self._condition:
            client = self._state.client
            if client is None or not secrets.compare_digest(name.encode(), client.encode()):
                return False
            self._hear()
            return True

    def next_job(self) -> Job | None:
        """The job to do, waited for; None where there is none yet. The same again until there is a reply to it.

        The connection that it was given to may have been broken, and then the page asks again.
        """
        deadline = time.monotonic() + POLL_SECONDS
        with self._condition:
            while not self._state.ended:
                task = self._state.task
                if task and self._state.reply is None:
                    return task.job
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._condition.wait(left)
            return None

    def alive(self, sign: Alive) -> None:
        """The page works; it may or may not have advanced."""
        with self._condition:
            if sign.messages != self._state.messages:
                self._state.messages = sign.messages
                self._state.advanced = time.monotonic()

    def answer(self, job_id: int, reply: Reply) -> bool:
        """Hand over the reply; whether that job was waited for."""
        with self._condition:
            task = self._state.task
            if task is None or task.job.id != job_id or self._state.reply is not None:
                return False
            self._state.reply = reply
            self._condition.notify_all()
            return True

    def lose(self, why: str) -> None:
        """The page cannot be used any longer."""
        with self._condition:
            self._state.lost = self._state.lost or why
            self._condition.notify_all()

    @property
    def task(self) -> Task | None:
        """What is being done; nothing else is served."""
        with self._condition:
            return self._state.task

    @property
    def ended(self) -> bool:
        """Whether there will be no more jobs."""
        with self._condition:
            return self._state.ended

    def _hear(self) -> None:
        self._state.heard = time.monotonic()

    # For the thread that measures.

    def wait_for_page(self, seconds: float, check: Callable[[], None]) -> Facts | None:
        """What the page says of itself once it connects; None where none does in time.

        Args:
            check: called now and then; raises where there is no sense in waiting.
        """
        deadline = time.monotonic() + seconds
        with self._condition:
            while self._state.facts is None and time.monotonic() < deadline:
                check()
                self._condition.wait(_LOOK_SECONDS)
            return self._state.facts

    def ask(self, task: Task, check: Callable[[], None]) -> Reply:
        """Have the page do a job.

        Args:
            check: as for :meth:`wait_for_page`.

        Raises:
            DeviceLost: the page was closed or fell silent.
            MlkdcError: its worker is stuck.
        """
        with self._condition:
            self._state.task, self._state.reply = task, None
            self._state.messages = 0
            self._state.advanced = time.monotonic()
            self._condition.notify_all()
            try:
                while self._state.reply is None:
                    check()
                    self._raise_if_lost()
                    self._condition.wait(_LOOK_SECONDS)
                return self._state.reply
            finally:
                self._state.task = None

    def _raise_if_lost(self) -> None:
        now = time.monotonic()
        if self._state.lost is None and now - self._state.heard > SILENT_SECONDS:
            self._state.lost = SILENT
        if self._state.lost:
            raise DeviceLost(self._state.lost)
        if now - self._state.advanced > STUCK_SECONDS:
            # Its worker still has the job, so the page can be given no other.
            self._state.lost = "the page is stuck in an earlier artifact"
            raise MlkdcError(f"nothing happened in the page for {STUCK_SECONDS:g} s: the runtime or one call is stuck")

    def end(self) -> None:
        """There are no more jobs."""
        with self._condition:
            self._state.ended = True
            self._condition.notify_all()
