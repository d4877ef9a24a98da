"""A device with Python: anything that gives a pipe to it."""

import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from mlkdc.agent.frames import SILENCE_SECONDS, Frame
from mlkdc.agent.process import Completed
from mlkdc.agent.worker import SPEC_FILE
from mlkdc.devices.answers import read_answers
from mlkdc.devices.base import Device, DeviceLost, Load, Subject
from mlkdc.devices.channel import ANSWER_SECONDS, Channel, Explain
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.figures import counted
from mlkdc.records.base import Record, faults
from mlkdc.records.bench import DeviceInfo, PhotoTiming, Turn
from mlkdc.records.machine import Machine
from mlkdc.resources import digest
from mlkdc.runtime.session import spec_of

Printed = TypeVar("Printed", bound=Record)

#: For start, load and warm-up of a worker, and how long one of its calls may take besides.
TIMEOUT_SECONDS, CALL_SECONDS = 900, 5
NO_SENSOR = "It has no temperature sensor that can be read: throttling shows only as drift."
#: Whose versions are asked for.
PACKAGES = (
    "numpy",
    "torch",
    "onnxruntime",
    "openvino",
    "ai-edge-litert",
    "executorch",
    "ncnn",
    "tensorrt",
    "tensorrt-rtx",
    "coremltools",
)


class Hello(Record):
    """What the agent says of its device; :class:`mlkdc.records.bench.DeviceInfo` says what it is.

    Args:
        folder, archive: where the agent's files and its program are.
        celsius: None without a sensor.
        schedstat: whether the kernel says how long threads wait.
        removed: folders of agents that were killed, and so could not do it.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    folder: str
    archive: str
    agent_sha256: str
    system: Machine
    libc: str | None
    python: str
    versions: dict[str, str]
    free_mib: float
    celsius: float | None
    schedstat: bool
    removed: int


class Claim(Record):
    """What the agent says where it was asked to be the one that measures.

    Args:
        claimed: whether it is.
        celsius: now; None without a sensor.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    claimed: bool
    celsius: float | None


_COMPLETED = TypeAdapter(Completed)


def lost(name: str) -> Explain:
    """The error for a pipe that ended, in the words of the program that carried it."""

    def explain(code: int, stderr: str) -> MlkdcError:
        words = stderr.splitlines()[-1:] or [f"exit code {code}"]
        return DeviceLost(f"{name} was lost: {words[0]}")

    return explain


class AgentDevice(Device):
    """Python at the end of a pipe.

    Args:
        name: as the user names it.
        command: the argv of a program that gives a byte-clean pipe to the device's ``python3 -c`` with
            :func:`mlkdc.devices.bootstrap.start_code`.
        explain: the error for an end that was not asked for; None = the program's last line.
        keep: whether the agent's folder stays on the device.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, explain: Explain | None = None, keep: bool = False
    ) -> None:
        self.name = name
        self.keep = keep
        self._command = command
        self._explain = explain or lost(name)
        self._channel: Channel | None = None
        self._pushed: dict[Path, str] = {}
        self._photos: dict[str, Path] = {}
        self.folder = self.archive = ""
        self.free_mib = 0.0

    def open(self) -> DeviceInfo:
        self._channel = Channel(self.name, self._command, self._explain)
        try:
            facts = self._channel.ask("hello", packages=list(PACKAGES), keep=self.keep).values
            return self._described(Hello.model_validate(facts))
        except DeviceLost:
            raise
        except MlkdcError as error:
            raise UsageError(str(error)) from None
        except ValidationError as error:
            raise self._no_agent(error) from None

    def _no_agent(self, error: ValidationError) -> DeviceLost:
        return DeviceLost(f"{self.name} was lost: it does not answer as mlkdc's agent does ({faults(error)})")

    def _described(self, facts: Hello) -> DeviceInfo:
        self.folder, self.archive = facts.folder, facts.archive
        self.free_mib = facts.free_mib
        self.start_celsius = facts.celsius
        notes = []
        if self.start_celsius is None:
            notes.append(NO_SENSOR)
        if not facts.schedstat:
            notes.append("Its kernel does not say how long a thread waits for a core: CPU time stands in for that.")
        if facts.removed:
            notes.append(f"Files of {counted(facts.removed, 'earlier measurement')} that had been killed were removed.")
        if self.keep:
            notes.append(f"Its files were kept in {self.folder}.")
        versions = {package: version for package, version in facts.versions.items() if package != "python"}
        return DeviceInfo(
            url=self.name,
            machine=facts.system,
            libc=facts.libc,
            python=facts.python,
            versions=versions,
            agent_sha256=facts.agent_sha256,
            notes=tuple(notes),
        )

    def claim(self) -> bool:
        try:
            claim = Claim.model_validate(self._ask("claim").values)
        except ValidationError as error:
            raise self._no_agent(error) from None
        except DeviceLost:
            raise
        except MlkdcError as error:
            # What cannot even do this measures nothing.
            raise DeviceLost(f"{self.name} was lost: {error}") from None
        if claim.claimed:
            # Before, another measurement may have heated it.
            self.start_celsius = claim.celsius
        return claim.claimed

    def turn(self, subject: Subject, load: Load) -> Turn:
        return self.timed([self.archive, "time", self.push(subject)], load)

    def timed(self, arguments: Sequence[str], load: Load) -> Turn:
        """Run a program that ends by printing a :class:`Turn`. Raises as :meth:`turn`."""
        options = ["--threads", str(load.threads), "--runs", str(load.least_runs), "--seconds", str(load.least_seconds)]
        if load.cool_to is not None:
            options += ["--cool-to", str(load.cool_to)]
        seconds = load.least_seconds + CALL_SECONDS * load.least_runs
        turn = self._measured(Turn, [*arguments, *options], load.threads, seconds)
        if turn.runs < load.least_runs:
            raise MlkdcError(f"the worker timed {turn.runs} calls, expected at least {load.least_runs}")
        return turn

    def photos(self, subject: Subject, files: Sequence[Path], threads: int) -> PhotoTiming:
        folder = self.push(subject)
        names = [f"photos/{number:05d}{file.suffix.lower()}" for number, file in enumerate(files)]
        for name, file in zip(names, files, strict=True):
            if self._photos.get(name) != file:
                self._put(name, _content(file))
                self._photos[name] = file
        fit = subject.manifest.preprocess.fit
        arguments = [self.archive, "photos", folder, *[f"{self.folder}/{name}" for name in names]]
        options = ["--fit", fit, "--threads", str(threads)]
        return self._measured(PhotoTiming, [*arguments, *options], threads, CALL_SECONDS * len(files))

    def _measured(self, record: type[Printed], arguments: Sequence[str], threads: int, seconds: float) -> Printed:
        """Run a program that measures for so long at most, and ends by printing a record."""
        done = self.run(
            arguments,
            environment={"OMP_NUM_THREADS": str(threads)},
            timeout_seconds=TIMEOUT_SECONDS + seconds,
        )
        if done.failure is not None:
            raise MlkdcError(self._by_name(done.failure))
        printed = done.stdout.strip().rpartition("\n")[2]
        try:
            return record.model_validate_json(printed)
        except ValidationError:
            raise MlkdcError(f"the worker printed no result: {printed[-200:]!r}") from None

    def answers(self, subject: Subject, pixels: np.ndarray, *, batch: int | None = None) -> np.ndarray:
        """As :meth:`Device.answers`, with at most ``batch`` images at once, where the artifact takes more than one."""
        folder = self.push(subject)
        content = io.BytesIO()
        np.save(content, pixels)
        images, out = f"{folder}/images.npy", f"{folder}/answers.npy"
        self._put(self._relative(images), content.getvalue())
        arguments = [self.archive, "predict", folder, images, out]
        if batch is not None:
            arguments += ["--batch", str(batch)]
        done = self.run(arguments, timeout_seconds=TIMEOUT_SECONDS)
        if done.failure is not None:
            raise MlkdcError(self._by_name(done.failure))
        answered = self._ask("get", path=self._relative(out)).blob
        return read_answers(answered, (len(pixels), len(subject.manifest.classes)))

    def run(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Completed:
        """Run the device's Python with these arguments and wait for its end.

        Raises:
            MlkdcError: it could not be started, or took too long.
            DeviceLost: the device is gone.
        """
        # It is the device that ends it; one that does not is lost.
        assert self._channel is not None, "open() comes first"
        patience = math.inf if timeout_seconds is None else timeout_seconds + ANSWER_SECONDS
        answer = self._channel.ask(
            "run",
            b"",
            SILENCE_SECONDS,
            patience,
            arguments=list(arguments),
            environment=dict(environment or {}),
            most_seconds=timeout_seconds,
        )
        try:
            return _COMPLETED.validate_python(answer.values)
        except ValidationError as error:
            raise self._no_agent(error) from None

    def push(self, subject: Subject) -> str:
        """Put an artifact on the device, once, each file checked there; the path of its folder there."""
        path = subject.folder.resolve()
        if path not in self._pushed:
            place = f"{path.name}-{digest(str(path), 6)}"
            for name, file in subject.manifest.files.items():
                self._ask("put", (path / name).read_bytes(), path=f"{place}/{name}", sha256=file.sha256)
            self._put(f"{place}/{SPEC_FILE}", spec_of(subject.manifest).to_json().encode())
            self._pushed[path] = f"{self.folder}/{place}"
        return self._pushed[path]

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _by_name(self, message: str) -> str:
        """The message with artifacts' names and photos' paths in place of those on the device, which nobody knows."""
        for path, place in self._pushed.items():
            message = message.replace(place, path.name)
        for name, file in self._photos.items():
            message = message.replace(f"{self.folder}/{name}", str(file))
        return message

    def _put(self, path: str, content: bytes) -> None:
        self._ask("put", content, path=path, sha256=hashlib.sha256(content).hexdigest())

    def _relative(self, path: str) -> str:
        return path.removeprefix(f"{self.folder}/")

    def _ask(self, do: str, blob: bytes = b"", **values: object) -> Frame:
        assert self._channel is not None, "open() comes first"
        return self._channel.ask(do, blob, SILENCE_SECONDS, ANSWER_SECONDS, **values)


def _content(file: Path) -> bytes:
    """Raises :class:`UsageError` where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}") from None
