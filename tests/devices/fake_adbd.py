"""A fake Android device: what adbd answers to the real adb server, with this machine's shell behind it.

It speaks adb's transport (CNXN, AUTH, OPEN, OKAY, WRTE, CLSE), the service ``shell,v2,raw:`` and of ``sync:`` what
``adb push`` needs. Formats: packages/modules/adb of AOSP, protocol.txt, SYNC.TXT and shell_protocol.h.
"""

import contextlib
import errno
import os
import queue
import shutil
import signal
import socket
import struct
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

HEADER = struct.Struct("<4sIII I4s")
PACKET = struct.Struct("<BI")  # of shell,v2: what it is, and the length of its data
STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)
VERSION, LARGEST = 0x01000001, 256 * 1024
BANNER = b"device::ro.product.name=fake;ro.product.model=Fake;ro.product.device=fake;features=shell_v2,cmd"
TMP = "/data/local/tmp"
#: Android's shell where it is installed.
SHELL = shutil.which("mksh") or "/bin/sh"


class Stream:
    """One opened service. Of two messages in a row the second waits for the OKAY to the first."""

    def __init__(self, phone: "FakePhone", connection: socket.socket, own: int, other: int) -> None:
        self.phone, self.connection, self.own, self.other = phone, connection, own, other
        self.may_write = threading.Semaphore(1)
        self.lock = threading.Lock()
        self.incoming: queue.Queue[bytes] = queue.Queue()

    def begin(self, command: str) -> None:
        self.start(command)
        threading.Thread(target=self._take, daemon=True).start()

    def start(self, command: str) -> None:
        raise NotImplementedError

    def _take(self) -> None:
        # An OKAY says that the data was used: a command that reads nothing holds the sender up.
        while data := self.incoming.get():
            self.receive(data)
            self.phone.send(self.connection, b"OKAY", self.own, self.other)

    def write(self, data: bytes) -> None:
        with self.lock:
            for start in range(0, len(data), LARGEST):
                self.may_write.acquire()
                self.phone.send(self.connection, b"WRTE", self.own, self.other, data[start : start + LARGEST])

    def close(self) -> None:
        self.may_write.acquire()
        self.phone.send(self.connection, b"CLSE", self.own, self.other)

    def receive(self, data: bytes) -> None:
        raise NotImplementedError

    def end(self) -> None:
        self.incoming.put(b"")
        self.may_write.release(1000)  # nobody waits any more


class Shell(Stream):
    """``shell,v2,raw:COMMAND``. Where the connection ends, the command gets SIGHUP and no more input, as in adbd."""

    def start(self, command: str) -> None:
        pipe = subprocess.PIPE
        command = command.replace(TMP, str(self.phone.tmp))
        environment = {**os.environ, "PATH": f"{self.phone.programs}:{os.environ['PATH']}"}
        environment.pop("PYTHONPATH", None)  # the phone has no checkout
        self.process = subprocess.Popen(
            [SHELL, "-c", command], stdin=pipe, stdout=pipe, stderr=pipe, env=environment, cwd=self.phone.tmp
        )
        self.buffer = b""
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        assert self.process.stdout
        assert self.process.stderr
        errors = threading.Thread(target=self._pass_on, args=(STDERR, self.process.stderr), daemon=True)
        errors.start()
        self._pass_on(STDOUT, self.process.stdout)
        errors.join()
        code = self.process.wait()
        if code < 0:
            code = 0x80 | -code
        self.write(PACKET.pack(EXIT, 1) + bytes([code]))
        self.close()

    def _pass_on(self, kind: int, source: BinaryIO) -> None:
        while data := os.read(source.fileno(), 32 * 1024):
            self.write(PACKET.pack(kind, len(data)) + data)

    def receive(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= PACKET.size:
            kind, length = PACKET.unpack_from(self.buffer)
            if len(self.buffer) < PACKET.size + length:
                return
            body = self.buffer[PACKET.size : PACKET.size + length]
            self.buffer = self.buffer[PACKET.size + length :]
            assert self.process.stdin
            try:
                if kind == STDIN:
                    self.process.stdin.write(body)
                    self.process.stdin.flush()
                elif kind == CLOSE_STDIN:
                    self.process.stdin.close()
            except (BrokenPipeError, ValueError):
                pass  # the command reads no more

    def end(self) -> None:
        super().end()
        assert self.process.stdin
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGHUP)
            self.process.stdin.close()


class Sync(Stream):
    """``sync:`` with STAT and SEND, in this machine's files."""

    def start(self, command: str) -> None:
        self.buffer = b""
        self.target: BinaryIO | None = None
        self.fault = ""

    def receive(self, data: bytes) -> None:
        self.buffer += data
        while len(self.buffer) >= 8:
            kind, length = struct.unpack_from("<4sI", self.buffer)
            size = 0 if kind in (b"DONE", b"QUIT") else length
            if len(self.buffer) < 8 + size:
                return
            body, self.buffer = self.buffer[8 : 8 + size], self.buffer[8 + size :]
            requests = {b"STAT": self.stat, b"SEND": self.open, b"DATA": self.append, b"DONE": self.finish}
            requests.get(kind, self.quit)(body)

    def quit(self, _: bytes) -> None:
        self.close()

    def path(self, name: bytes) -> Path:
        return Path(name.decode().replace(TMP, str(self.phone.tmp)))

    def stat(self, name: bytes) -> None:
        path = self.path(name)
        facts = (0, 0, 0)
        if path.exists():
            status = path.stat()
            facts = (status.st_mode, status.st_size, int(status.st_mtime))
        self.write(struct.pack("<4sIII", b"STAT", *facts))

    def open(self, request: bytes) -> None:
        path = self.path(request.rpartition(b",")[0])
        try:
            self.target = path.open("wb")
        except OSError as error:
            self.fault = f"couldn't create file: {error.strerror}"

    def append(self, data: bytes) -> None:
        if self.target:
            self.target.write(data)
            if self.target.tell() > self.phone.free_bytes:
                self.fault = f"write failed: {os.strerror(errno.ENOSPC)}"

    def finish(self, _: bytes) -> None:
        if self.target:
            self.target.close()
        if self.fault:
            self.write(struct.pack("<4sI", b"FAIL", len(self.fault)) + self.fault.encode())
        else:
            self.write(struct.pack("<4sI", b"OKAY", 0))


@dataclass
class FakePhone:
    """Listens on loopback until closed.

    Args:
        tmp: stands for /data/local/tmp.
        programs: of the phone, found before this machine's.
        trusted: whether it accepts the computer's key.
        free_bytes: largest file it has room for.
        unplug_at: a command that contains this text ends the connection ``unplug_after`` seconds later, for good.
    """

    tmp: Path
    programs: Path
    trusted: bool = True
    free_bytes: int = 1 << 40
    unplug_at: str | None = None
    unplug_after: float = 0.3
    commands: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.serial = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def send(self, connection: socket.socket, kind: bytes, first: int, second: int, data: bytes = b"") -> None:
        magic = bytes(byte ^ 0xFF for byte in kind)
        with self._lock, contextlib.suppress(OSError):  # unplugged
            connection.sendall(HEADER.pack(kind, first, second, len(data), 0, magic) + data)

    def _serve(self, connection: socket.socket) -> None:
        streams: dict[int, Stream] = {}
        source = connection.makefile("rb")
        try:
            while len(header := source.read(HEADER.size)) == HEADER.size:
                kind, first, second, length, _, _ = HEADER.unpack(header)
                self._handle(connection, streams, kind, first, second, source.read(length))
        except OSError:
            pass  # unplugged
        for stream in streams.values():
            stream.end()

    def _handle(
        self, connection: socket.socket, streams: dict[int, Stream], kind: bytes, first: int, second: int, data: bytes
    ) -> None:
        if kind in (b"CNXN", b"AUTH"):
            if self.trusted:
                self.send(connection, b"CNXN", VERSION, LARGEST, BANNER)
            elif kind == b"CNXN" or first == 2:  # a signature; the key itself (3) waits for the user
                self.send(connection, b"AUTH", 1, 0, bytes(20))
        elif kind == b"OPEN":
            self._open(connection, streams, first, data.rstrip(b"\0").decode())
        elif kind == b"OKAY" and second in streams:
            streams[second].may_write.release()
        elif kind == b"WRTE" and second in streams:
            streams[second].incoming.put(data)
        elif kind == b"CLSE" and second in streams:
            streams.pop(second).end()

    def _open(self, connection: socket.socket, streams: dict[int, Stream], other: int, service: str) -> None:
        name, _, command = service.partition(":")
        kind, *options = name.split(",")
        services: dict[str, type[Shell] | type[Sync]] = {"shell": Shell, "sync": Sync}
        self.commands.append(service)
        if kind not in services or (kind == "shell" and not {"v2", "raw"} <= set(options)):
            self.send(connection, b"CLSE", 0, other)
            return
        own = len(self.commands)
        stream = services[kind](self, connection, own, other)
        streams[own] = stream
        self.send(connection, b"OKAY", own, other)
        stream.begin(command)
        if self.unplug_at and self.unplug_at in command:
            threading.Timer(self.unplug_after, self.close).start()

    def close(self) -> None:
        """As if the cable was pulled."""
        for connection in (self._listener, *self._connections):
            with contextlib.suppress(OSError):  # it is gone already
                connection.shutdown(socket.SHUT_RDWR)
        self._listener.close()
