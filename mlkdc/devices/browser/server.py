"""The web server of one measurement: its own page, the runtimes' files, the artifact at hand, and nothing else."""

import json
import secrets
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TypeVar
from urllib.parse import parse_qs

from pydantic import TypeAdapter, ValidationError

from mlkdc.devices.browser.exchange import GONE, Exchange
from mlkdc.devices.browser.messages import REPLY, Alive, Facts
from mlkdc.devices.browser.runtimes import RuntimeFile
from mlkdc.errors import UsageError
from mlkdc.records.base import faults

PAGE = Path(__file__).parent / "page"
PAGE_FILES = ("index.html", "page.css", "page.js", "worker.js", "protocol.js", "litert.js", "ort.js")
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
}
HEADERS = {
    # Both make the page cross-origin isolated where the origin is secure: threads, and a finer clock.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src data:",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
LARGEST_BODY = 64 * 2**20
DIGITS = 16
BYTES = "application/octet-stream"
JSON = "application/json"
_FACTS, _ALIVE = TypeAdapter(Facts), TypeAdapter(Alive)
_Message = TypeVar("_Message")


class PageServer:
    """Serves in threads of its own from its start until :meth:`close`.

    Args:
        exchange: which hears what the page says.
        runtimes: their files by path below ``runtime/``; may grow while it serves.
        host: name or number of the interface to listen on.
        port: 0 for a free one.

    Raises:
        UsageError: it cannot listen there.
    """

    def __init__(self, exchange: Exchange, runtimes: dict[str, RuntimeFile], host: str, port: int) -> None:
        token = secrets.token_urlsafe(16)
        try:
            self._server = _Server((host, port), exchange, runtimes, token)
        except OSError as error:
            raise UsageError(
                f"cannot listen on {host}, port {port} ({error.strerror or error}); "
                "choose another with ?host= and ?port=, or leave the port out for a free one"
            ) from None
        self.port: int = self._server.server_address[1]
        self.path = f"/{token}/"
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    def url(self, host: str) -> str:
        """The page's address under a name of this machine."""
        return f"http://{host}:{self.port}{self.path}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A port that another program listens on is an error, not shared.
    allow_reuse_port = False

    def __init__(
        self, address: tuple[str, int], exchange: Exchange, runtimes: dict[str, RuntimeFile], token: str
    ) -> None:
        super().__init__(address, _Handler)
        self.exchange, self.runtimes, self.token = exchange, runtimes, token

    def handle_error(self, *_: object) -> None:
        """A browser that ends a connection early is no news; anything else is an error of ours."""
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            self.exchange.lose(f"the server of the page failed ({error!r})")


def _is_number(text: str) -> bool:
    """Python refuses to read some thousand digits."""
    return text.isascii() and text.isdecimal() and len(text) < DIGITS


class _Refusal(Exception):
    """An answer without content.

    Args:
        status: of the answer.
        why: for the log of the one who asked; empty for the status's own words.
    """

    def __init__(self, status: HTTPStatus, why: str = "") -> None:
        super().__init__(why or status.phrase)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "mlkdc"
    sys_version = ""
    timeout = 60
    server: _Server

    def do_GET(self) -> None:
        try:
            self._get(self._path())
        except _Refusal as refusal:
            self._refuse(refusal)

    def do_POST(self) -> None:
        try:
            self._post(self._path())
        except _Refusal as refusal:
            self._refuse(refusal)

    def _get(self, path: str) -> None:
        runtime = self.server.runtimes.get(path.removeprefix("runtime/"))
        if path in ("", *PAGE_FILES):
            name = path or "index.html"
            self._send((PAGE / name).read_bytes(), TYPES[Path(name).suffix])
        elif path.startswith("runtime/") and runtime:
            self._send(runtime.read(), TYPES[runtime.path.suffix])
        elif path == "job":
            self._send_job()
        elif path == "pixels" or path.startswith("artifact/"):
            self._send(self._measured(path), BYTES)
        else:
            raise _Refusal(HTTPStatus.NOT_FOUND)

    def _post(self, path: str) -> None:
        if path == "hello":
            self._hello()
            return
        if path not in ("alive", "reply", "bye"):
            raise _Refusal(HTTPStatus.NOT_FOUND)
        self._check_client()
        if path == "bye":
            self.server.exchange.lose(GONE)
        elif path == "alive":
            self.server.exchange.alive(self._body(_ALIVE))
        else:
            self._hear_reply()
        self._send(b"", JSON)

    def _path(self) -> str:
        """The path below the token."""
        # Not urlsplit: anyone may ask for anything, and it does not take everything.
        token, separator, path = self.path.partition("?")[0].lstrip("/").partition("/")
        if separator and secrets.compare_digest(token.encode(), self.server.token.encode()):
            return path
        raise _Refusal(HTTPStatus.FORBIDDEN)

    def _query(self, name: str) -> str:
        return parse_qs(self.path.partition("?")[2]).get(name, [""])[0]

    def _number(self, name: str) -> int:
        text = self._query(name)
        if _is_number(text):
            return int(text)
        raise _Refusal(HTTPStatus.BAD_REQUEST, f"expected {name}=NUMBER")

    def _check_client(self) -> None:
        if not self.server.exchange.is_client(self._query("client")):
            raise _Refusal(HTTPStatus.FORBIDDEN)

    def _measured(self, path: str) -> bytes:
        """The artifact at hand, or some of the images that it is asked about."""
        self._check_client()
        task = self.server.exchange.task
        if task and path == f"artifact/{task.job.sha256}":
            return task.file.read_bytes()
        if task and path == "pixels":
            first = self._number("start")
            return task.pixels[first : first + self._number("count")].tobytes()
        raise _Refusal(HTTPStatus.NOT_FOUND)

    def _send_job(self) -> None:
        self._check_client()
        job = self.server.exchange.next_job()
        if job:
            self._send(job.model_dump_json().encode(), JSON)
        elif self.server.exchange.ended:
            raise _Refusal(HTTPStatus.GONE)
        else:
            self._send(b"", JSON, HTTPStatus.NO_CONTENT)

    def _hello(self) -> None:
        client = self.server.exchange.connect(self._body(_FACTS))
        if client is None:
            raise _Refusal(HTTPStatus.CONFLICT)
        self._send(json.dumps({"client": client}).encode(), JSON)

    def _hear_reply(self) -> None:
        try:
            reply = self._body(REPLY)
        except _Refusal as refusal:
            self.server.exchange.lose(f"the page sent a reply that cannot be used ({refusal})")
            raise
        if not self.server.exchange.answer(self._number("job"), reply):
            raise _Refusal(HTTPStatus.CONFLICT)

    def _body(self, kind: TypeAdapter[_Message]) -> _Message:
        """The message that was posted."""
        length = self.headers.get("Content-Length", "")
        if not _is_number(length):
            raise _Refusal(HTTPStatus.LENGTH_REQUIRED)
        if int(length) > LARGEST_BODY:
            raise _Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            return kind.validate_json(self.rfile.read(int(length)))
        except ValidationError as error:
            raise _Refusal(HTTPStatus.BAD_REQUEST, faults(error)) from None

    def _send(self, content: bytes, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, refusal: _Refusal) -> None:
        # What was posted may not have been read, so the connection cannot be used again.
        self.close_connection = True
        self._send(f"{refusal}\n".encode(), "text/plain; charset=utf-8", refusal.status)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: only the command line prints."""
