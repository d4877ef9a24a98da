"""A page in a browser as a device."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from mlkdc.devices.base import Device, DeviceLost, Load, Subject
from mlkdc.devices.browser.adb import ReversedPort
from mlkdc.devices.browser.address import Address, parse_address
from mlkdc.devices.browser.chromium import Chromium
from mlkdc.devices.browser.describe import describe, limits
from mlkdc.devices.browser.exchange import Exchange, Task
from mlkdc.devices.browser.invite import invitation, reachable_host
from mlkdc.devices.browser.messages import AnswersReply, Engine, Facts, FailedReply, Job, Plan, TurnReply
from mlkdc.devices.browser.runtimes import ENDINGS, NAMES, RuntimeFile, find_runtime, runtime_versions
from mlkdc.devices.browser.server import PageServer
from mlkdc.devices.metadata import check_here
from mlkdc.errors import MlkdcError
from mlkdc.records.bench import DeviceInfo, Turn
from mlkdc.runtime.session import spec_of
from mlkdc.runtime.timing import (
    LEAST_WINDOW,
    SETTLED,
    WARMUP_LEAST_SECONDS,
    WARMUP_MOST_SECONDS,
    WINDOW,
    WINDOW_SECONDS,
    summarize,
)

#: A user who looks at another page for a moment loses no row.
TURN_TRIES = 3
HIDDEN = "was in the background while it measured"
IN_FRONT = "keep it in front and the screen on"

_Expected = TypeVar("_Expected", TurnReply, AnswersReply)


class BrowserDevice(Device):
    """Serves a page, which runs artifacts with the runtimes of browsers.

    Args:
        url: ``browser``, ``browser://chromium`` or ``browser+adb://SERIAL``, with options.
        say: hears the page's address and of downloads.
        web_runtime: a ``node_modules`` folder, where the URL names none; None = the cache.

    Raises:
        UsageError: the URL is wrong.
    """

    def __init__(self, url: str, say: Callable[[str], None], web_runtime: Path | None = None) -> None:
        self.name = url
        self._say = say
        self._address = parse_address(url)
        if self._address.web_runtime is None:
            self._address = replace(self._address, web_runtime=web_runtime)
        self._exchange = Exchange()
        self._served: dict[str, RuntimeFile] = {}
        self._server: PageServer | None = None
        self._chromium: Chromium | None = None
        self._reversed: ReversedPort | None = None
        self._facts: Facts | None = None
        self._jobs = 0
        self._checked: set[Path] = set()

    def open(self) -> DeviceInfo:
        address = self._address
        self._server = PageServer(self._exchange, self._served, address.host, address.port)
        host = reachable_host(address.host)
        if address.adb_serial:
            self._reversed = ReversedPort(address.adb_serial, self._server.port)
            host = "localhost"
        url = self._server.url(host)
        if address.chromium:
            self._chromium = Chromium(url, webgpu=address.accelerator == "webgpu")
        else:
            for line in invitation(url, address.wait_seconds):
                self._say(line)
        self._facts = self._exchange.wait_for_page(address.wait_seconds, self._check)
        if self._facts is None:
            raise DeviceLost(_nobody(address))
        return describe(self.name, self._facts, address.accelerator, runtime_versions(address.web_runtime))

    def provider(self, subject: Subject) -> str:
        """What runs the artifact: ``LiteRT.js wasm``. Raises MlkdcError where nothing does."""
        return f"{NAMES[_engine(subject)]} {self._address.accelerator}"

    def turn(self, subject: Subject, load: Load) -> Turn:
        plan = Plan(
            window=WINDOW,
            least_window=LEAST_WINDOW,
            window_seconds=WINDOW_SECONDS,
            settled=SETTLED,
            least_warmup_seconds=WARMUP_LEAST_SECONDS,
            most_warmup_seconds=WARMUP_MOST_SECONDS,
            least_runs=load.least_runs,
            least_seconds=load.least_seconds,
        )
        size = subject.manifest.image_size
        noise = np.random.default_rng(0).integers(0, 256, (1, 3, size, size), dtype=np.uint8)
        reply = self._seen(subject, load.threads, noise, plan)
        if len(reply.samples_ms) < load.least_runs:
            raise MlkdcError(f"the page timed {len(reply.samples_ms)} samples, expected at least {load.least_runs}")
        return _turn(reply)

    def _seen(self, subject: Subject, threads: int, noise: np.ndarray, plan: Plan) -> TurnReply:
        """The reply to a turn during which the page was in front, for which it has a few tries."""
        for _ in range(TURN_TRIES):
            reply = self._ask(subject, self._task(subject, noise, threads, plan), TurnReply)
            if not reply.hidden:
                return reply
            self._say(f"{self.name} {HIDDEN}, which does not count; {IN_FRONT}")
        raise MlkdcError(f"the page {HIDDEN}, {TURN_TRIES} times; {IN_FRONT}")

    def answers(self, subject: Subject, pixels: np.ndarray) -> np.ndarray:
        task = self._task(subject, pixels, threads=1, plan=None)
        reply = self._ask(subject, task, AnswersReply)
        shape = len(pixels), len(subject.manifest.classes)
        if len(reply.answers) != shape[0] * shape[1]:
            raise MlkdcError(f"the page gave {len(reply.answers)} probabilities, expected {shape[0]} x {shape[1]}")
        values = [math.nan if value is None else value for value in reply.answers]
        return np.array(values, dtype=np.float32).reshape(shape)

    def close(self) -> None:
        self._exchange.end()
        if self._chromium:
            self._chromium.close()
            self._chromium = None
        if self._reversed:
            self._reversed.close()
            self._reversed = None
        if self._server:
            self._server.close()
            self._server = None

    def _check(self) -> None:
        if self._chromium:
            self._chromium.check()

    def _ask(self, subject: Subject, task: Task, expected: type[_Expected]) -> _Expected:
        """The page's reply, of the kind that was asked for."""
        if self._facts is None:
            raise DeviceLost("no page is connected")
        engine = task.job.engine
        problem = limits(self._facts, self._address.accelerator, task.job.threads)
        if problem:
            raise MlkdcError(problem)
        self._served.update(find_runtime(engine, self._address.web_runtime, self._say))
        reply = self._exchange.ask(task, self._check)
        if isinstance(reply, FailedReply):
            raise MlkdcError(_failure(reply, NAMES[engine], subject))
        if not isinstance(reply, expected):
            raise DeviceLost(f"the page replied to another question than was asked: {reply.kind}")
        return reply

    def _task(self, subject: Subject, pixels: np.ndarray, threads: int, plan: Plan | None) -> Task:
        manifest = subject.manifest
        engine = _engine(subject)
        if subject.folder not in self._checked:
            check_here(subject)
            self._checked.add(subject.folder)
        file = spec_of(manifest).only_file(subject.folder, ENDINGS[engine])
        recorded = manifest.files[file.relative_to(subject.folder).as_posix()]
        self._jobs += 1
        job = Job(
            id=self._jobs,
            kind="answers" if plan is None else "turn",
            name=subject.folder.name,
            engine=engine,
            accelerator=self._address.accelerator,
            threads=threads,
            size_bytes=recorded.size_bytes,
            sha256=recorded.sha256,
            input=manifest.input,
            output=manifest.output,
            images=len(pixels),
            plan=plan,
        )
        return Task(job, file, pixels)


def _nobody(address: Address) -> str:
    """Why nothing can be measured where no page connected."""
    seconds = f"within {address.wait_seconds:g} s"
    if address.chromium:
        return f"Chromium did not open the page {seconds}; wait longer with ?wait=, or try `--device browser`"
    return (
        f"no page connected {seconds}; open the address in a browser that reaches this machine, "
        "or choose where to listen with ?host= and how long to wait with ?wait="
    )


def _turn(reply: TurnReply) -> Turn:
    timed = summarize(
        list(reply.samples_ms),
        first_ms=reply.first_ms,
        warmup_runs=reply.warmup_runs,
        settled=reply.settled,
        calls=reply.calls_per_sample,
    )
    return Turn(**asdict(timed), load_ms=reply.load_ms)


def _engine(subject: Subject) -> Engine:
    for engine in NAMES:
        if subject.manifest.runtime == engine:
            return engine
    raise MlkdcError(
        f"no browser runs {subject.manifest.target} artifacts; export to litert (LiteRT.js) or onnx (onnxruntime-web)"
    )


def _failure(reply: FailedReply, runtime: str, subject: Subject) -> str:
    said = f"({reply.message})"
    sentences = {
        "runtime": f"{runtime} cannot be started in this browser {said}; try a newer one",
        "artifact": f"{runtime} cannot load {subject.folder.name} {said}",
        "run": f"{runtime} failed while it ran {subject.folder.name} {said}",
    }
    return sentences[reply.stage]
