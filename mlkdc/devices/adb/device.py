"""A phone as a device: with Python there the agent, else the user's programs, and around both the phone's state."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from mlkdc.devices.adb.benchmark_model import BenchmarkModel
from mlkdc.devices.adb.binaries import Binaries, missing
from mlkdc.devices.adb.client import Adb, connect
from mlkdc.devices.adb.executor_runner import ExecutorRunner
from mlkdc.devices.adb.guard import Guard
from mlkdc.devices.adb.program import Program
from mlkdc.devices.adb.state import Now, conditions, read_facts, read_now, thermal_word
from mlkdc.devices.adb.url import AdbUrl, parse_url
from mlkdc.devices.agent import NO_SENSOR, AgentDevice
from mlkdc.devices.base import Device, DeviceLost, Load, Subject
from mlkdc.devices.bootstrap import start_code
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.records.bench import Conditions, DeviceInfo, PhotoTiming, Turn
from mlkdc.runtime.conditions import COOLING_SECONDS

#: Where a phone may have Python: on its path, or Termux's, which only a rooted phone's adb may start.
PYTHONS = ("python3", "/data/data/com.termux/files/usr/bin/python3")


class Measuring(Protocol):
    """What measures on the phone."""

    def turn(self, subject: Subject, load: Load) -> Turn:
        """As :meth:`mlkdc.devices.base.Device.turn`."""

    def answers(self, subject: Subject, pixels: np.ndarray) -> np.ndarray:
        """As :meth:`mlkdc.devices.base.Device.answers`."""


class AdbDevice(Device):
    """An Android phone.

    Args:
        url: ``adb://[SERIAL][?python=PATH|benchmark_model=PATH|executor_runner=PATH]``.
        keep: whether its folder stays on the phone.

    Raises:
        UsageError: the URL cannot be read.
    """

    def __init__(self, url: str, *, keep: bool = False) -> None:
        self.name = url
        self.keep = keep
        self.start_celsius: float | None = None
        self._url: AdbUrl = parse_url(url)
        self._adb: Adb | None = None
        self._guard: Guard | None = None
        self._agent: AgentDevice | None = None
        self._measuring: Measuring | None = None

    def open(self) -> DeviceInfo:
        self._adb = connect(self._url.serial)
        now = read_now(self._adb)
        if now.dark:
            raise UsageError(_dark(self._adb))
        self.start_celsius = now.celsius
        facts = read_facts(self._adb)
        python, programs = self._found(self._adb)
        self._guard = Guard(self._adb, keep=self.keep)
        notes = (*facts.notes, *_state_notes(now, self._guard))
        if python is None:
            self._measuring = Binaries(self._adb, self._guard.folder, programs)
            if self.keep:
                notes = (*notes, f"Its files were kept in {self._guard.folder}.")
            for program in programs:
                digest = self._adb.shell(f"sha256sum {program.path}").text.partition(" ")[0]
                notes = (*notes, f"{program.path} measured it (SHA-256 {digest}).", *program.notes)
            return DeviceInfo(url=self.name, machine=facts.machine, notes=notes)
        self._agent = AgentDevice(self.name, self._agent_command(python), explain=self._explain, keep=self.keep)
        self._measuring = self._agent
        try:
            info = self._agent.open()
        except MlkdcError:
            self.close()
            raise
        # The phone may have sensors that its programs cannot read.
        said = [note for note in info.notes if note != NO_SENSOR or now.celsius is None]
        return info.model_copy(update={"machine": facts.machine, "notes": (*notes, *said)})

    def claim(self) -> bool:
        # Without the agent, the guard has seen that there is no other.
        if self._agent is None:
            return True
        claimed = self._agent.claim()
        if claimed:
            assert self._adb
            self.start_celsius = read_now(self._adb).celsius
        return claimed

    def turn(self, subject: Subject, load: Load) -> Turn:
        assert self._adb, "open() comes first"
        assert self._measuring
        before, cooled_seconds = self._cooled(load.cool_to)
        if before.dark:
            # It is set up, and no longer there: what was measured before is kept.
            raise DeviceLost(_dark(self._adb))
        if before.celsius is not None:
            load = replace(load, cool_to=None)
        turn = self._measuring.turn(subject, load)
        around = conditions(before, self._still_bright(), cooled_seconds)
        return turn.model_copy(update={"conditions": _filled(turn.conditions, around)})

    def answers(self, subject: Subject, pixels: np.ndarray) -> np.ndarray:
        assert self._measuring, "open() comes first"
        return self._measuring.answers(subject, pixels)

    def photos(self, subject: Subject, files: Sequence[Path], threads: int) -> PhotoTiming:
        if self._agent is None:
            return super().photos(subject, files, threads)
        times = self._agent.photos(subject, files, threads)
        self._still_bright()
        return times

    def close(self) -> None:
        if self._agent is not None:
            self._agent.close()
        if self._guard is not None:
            self._guard.close()
        self._agent = self._guard = None

    def _found(self, adb: Adb) -> tuple[str | None, list[Program]]:
        """Python there, or else programs. Raises :class:`UsageError` where there is neither."""
        programs: list[Program] = []
        if self._url.benchmark_model:
            programs.append(BenchmarkModel(self._url.benchmark_model))
        if self._url.executor_runner:
            programs.append(ExecutorRunner(self._url.executor_runner))
        for program in programs:
            if why := missing(adb, program):
                raise UsageError(why)
        candidates: tuple[str, ...] = PYTHONS
        if self._url.python:
            candidates = (self._url.python,)
        if programs and not self._url.python:
            return None, programs
        for python in candidates:
            if adb.shell(f"{python} -c 'import sys'").code == 0:
                return python, []
        if self._url.python:
            raise UsageError(f"adb://{adb.serial} has no Python that starts at {self._url.python}")
        raise UsageError(
            f"adb://{adb.serial} has no Python that adb may start: name a program there with ?benchmark_model=PATH "
            "(LiteRT) or ?executor_runner=PATH (ExecuTorch), or install Termux with an SSH server and use ssh://"
        )

    def _agent_command(self, python: str) -> list[str]:
        assert self._adb
        assert self._guard
        folder = self._guard.folder
        # SIGHUP comes with the end of the connection: the agent sees that by its input, and cleans up.
        script = f"trap '' HUP; cd {folder} && TMPDIR={folder} exec {python} -c \"{start_code()}\""
        return self._adb.command("shell", "-T", script)

    def _explain(self, code: int, stderr: str) -> MlkdcError:
        """adb ends with 0 where the phone was unplugged."""
        said = stderr.splitlines()[-1:] or ["it was unplugged, or restarted"]
        return DeviceLost(f"{self.name} was lost: {said[0]}")

    def _still_bright(self) -> Now:
        """The phone after it measured. Raises :class:`DeviceLost` where its screen went dark."""
        assert self._adb
        now = read_now(self._adb)
        if now.dark:
            raise DeviceLost(
                f"the screen of adb://{self._adb.serial} went dark while it measured, and Android slows programs down "
                "then, so that does not count; keep it on with Developer options > Stay awake, and measure again"
            )
        return now

    def _cooled(self, limit: float | None) -> tuple[Now, float]:
        """The phone once it is cool, and the seconds that took, at most five minutes."""
        assert self._adb
        start = time.monotonic()
        now = read_now(self._adb)
        waited = 0.0
        while limit is not None and now.celsius is not None and now.celsius > limit and waited < COOLING_SECONDS:
            time.sleep(1)
            now = read_now(self._adb)
            waited = time.monotonic() - start
        return now, waited


def _dark(adb: Adb) -> str:
    return (
        f"the screen of adb://{adb.serial} is off, and Android slows programs down then: turn it on, unlock it, "
        "and keep it on with Developer options > Stay awake"
    )


def _state_notes(now: Now, guard: Guard) -> list[str]:
    notes = ["Fixed performance mode was on while it was measured."]
    if not guard.fixed_performance:
        notes = ["It has no fixed performance mode: its clock rose and fell as the phone liked."]
    if now.status is not None:
        word = thermal_word(now.status)
        notes.append(f"Thermal status {now.status} ({word}) at the start; 0 does not exclude throttling.")
    if now.dark is None:
        notes.append("It does not say whether its screen was on.")
    return notes


def _filled(measured: Conditions, around: Conditions) -> Conditions:
    """What was measured inside, and what the phone said around it where that is missing."""
    missing = {}
    for field in Conditions.model_fields:
        if getattr(measured, field) is None:
            missing[field] = getattr(around, field)
    return measured.model_copy(update={**missing, "cooled_seconds": measured.cooled_seconds + around.cooled_seconds})
