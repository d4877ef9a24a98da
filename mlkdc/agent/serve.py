"""The agent's side of the pipe: keep files, run Python, and be gone without a trace when the other side is."""

import hashlib
import os
import platform
import queue
import shutil
import signal
import subprocess
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path, PurePosixPath

from mlkdc.agent import others
from mlkdc.agent.frames import BEAT_SECONDS, SILENCE_SECONDS, Closed, Frame, Nonsense, Values, packed, receive
from mlkdc.agent.process import run_python
from mlkdc.errors import MlkdcError
from mlkdc.runtime import conditions
from mlkdc.runtime.system import libc, system, versions


class Agent:
    """Answers one request after another.

    Args:
        folder: made for it, and removed at the end.
        archive: this program, which each turn starts again.
    """

    def __init__(self, folder: Path, archive: Path) -> None:
        self._folder, self._archive = folder, archive
        self._requests: queue.Queue[Frame] = queue.Queue()
        self._writing = threading.Lock()
        self._heard = time.monotonic()
        self._child: subprocess.Popen[str] | None = None
        self._keep = False

    def serve(self) -> None:
        """Until the other side says goodbye, or is silent, or gone."""
        # Ctrl-C in a terminal reaches this process too. The other side closes the pipe, and that is what ends it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        others.mark(self._folder)
        for job in (self._listen, self._beat):
            threading.Thread(target=job, daemon=True).start()
        try:
            self._serve()
        except BaseException:
            traceback.print_exc()
            self._leave()

    def _serve(self) -> None:
        while True:
            request = self._requests.get()
            try:
                answer = self._answer(request)
            except (MlkdcError, OSError) as error:
                answer = Frame({"error": _sentence(error)})
            self._send(answer)
            if request.values["do"] == "bye":
                self._leave()

    def _answer(self, request: Frame) -> Frame:
        values = request.values
        if values["do"] == "hello":
            return Frame(self._hello(values))
        if values["do"] == "put":
            self._put(values, request.blob)
            return Frame({})
        if values["do"] == "get":
            return Frame({}, self._path(values["path"]).read_bytes())
        if values["do"] == "claim":
            return Frame({"claimed": others.claim(), "celsius": conditions.celsius()})
        if values["do"] == "run":
            return Frame(self._run(values))
        return Frame({})

    def _hello(self, values: Values) -> Values:
        self._keep = values["keep"]
        if self._keep:
            # At once: also where the device is lost, or this program killed, its files stay.
            others.unmark(self._folder)
        return {
            "folder": str(self._folder),
            "archive": str(self._archive),
            "agent_sha256": hashlib.sha256(self._archive.read_bytes()).hexdigest(),
            "system": asdict(system()),
            "libc": libc(),
            "python": platform.python_version(),
            "versions": versions(values["packages"]),
            "free_mib": shutil.disk_usage(self._folder).free / 2**20,
            "celsius": conditions.celsius(),
            "schedstat": bool(conditions.waits_ns()),
            "removed": others.remove_dead(self._folder.parent),
        }

    def _put(self, values: Values, content: bytes) -> None:
        path = self._path(values["path"])
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.write_bytes(content)
        except OSError:
            path.unlink(missing_ok=True)
            raise
        # Of what lies there now, not of what arrived.
        if hashlib.sha256(path.read_bytes()).hexdigest() != values["sha256"]:
            path.unlink()
            raise MlkdcError(f"{path} was damaged on its way; try again")

    def _path(self, name: str) -> Path:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise MlkdcError(f"{name} is outside the agent's folder")
        return self._folder / relative

    def _run(self, values: Values) -> Values:
        done = run_python(
            values["arguments"],
            # Runtimes leave files of their own in the folder for temporary ones (ONNX Runtime: .ses).
            environment={"TMPDIR": str(self._folder), **values["environment"]},
            timeout_seconds=values["most_seconds"],
            started=self._started,
        )
        self._child = None
        return asdict(done)

    def _started(self, child: "subprocess.Popen[str]") -> None:
        self._child = child

    def _send(self, frame: Frame) -> None:
        data = packed(frame)
        try:
            with self._writing:
                while data:
                    data = data[os.write(1, data) :]
        except OSError:
            self._leave()

    def _listen(self) -> None:
        while True:
            try:
                frame = receive(self._read)
            except (Closed, Nonsense, OSError):
                self._leave()
            if frame.values["do"] != "beat":
                self._requests.put(frame)

    def _read(self, count: int) -> bytes:
        data = os.read(0, count)
        # A large file on a slow network takes longer than the silence that is allowed.
        self._heard = time.monotonic()
        return data

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            # A network that stalls closes no pipe.
            if time.monotonic() - self._heard > SILENCE_SECONDS:
                self._leave()
            self._send(Frame({"beat": True}))

    def _leave(self) -> None:
        """End now, whatever other threads are doing, with no child and no file left."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        if not self._keep:
            shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename or 'the device'}: {error.strerror or error}"
    return str(error)
