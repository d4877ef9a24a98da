"""What the server gives to whom, asked with paths that no browser would send."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import pytest
from fake_page import TURN, FakePage

from mlkdc.devices.browser import server as server_module
from mlkdc.devices.browser.exchange import Exchange, Task
from mlkdc.devices.browser.messages import Job
from mlkdc.devices.browser.runtimes import RuntimeFile
from mlkdc.devices.browser.server import PAGE, PAGE_FILES, PageServer
from mlkdc.errors import UsageError
from mlkdc.records.manifest import InputSpec, OutputSpec

SHA = "ab" * 32


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


@pytest.fixture
def server(exchange: Exchange, tmp_path: Path) -> Iterator[PageServer]:
    script = tmp_path / "index.js"
    script.write_text('import { a } from "@litertjs/wasm-utils";')
    runtimes = {"@litertjs/core/dist/index.js": RuntimeFile(script, ("@litertjs/wasm-utils", "../utils.js"))}
    running = PageServer(exchange, runtimes, "127.0.0.1", 0)
    yield running
    running.close()


@pytest.fixture
def page(server: PageServer) -> FakePage:
    return FakePage(server.url("127.0.0.1"))


def task(tmp_path: Path) -> Task:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"weights")
    job = Job(
        id=1,
        kind="answers",
        name="onnx-fp32",
        engine="onnxruntime",
        accelerator="wasm",
        threads=1,
        size_bytes=7,
        sha256=SHA,
        input=InputSpec(name="image", shape=(1, 3, 2, 2), layout="NCHW", dtype="uint8"),
        output=OutputSpec(name="probabilities", shape=(1, 3)),
        images=3,
        plan=None,
    )
    return Task(job, model, np.arange(36, dtype=np.uint8).reshape(3, 3, 2, 2))


def test_the_page_and_its_files_are_served_isolated(page: FakePage) -> None:
    for name in PAGE_FILES:
        status, content, response = page.ask("GET", page.base + name)
        assert (status, content) == (200, (PAGE / name).read_bytes())
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert "default-src 'self'" in response.headers["Content-Security-Policy"]
        assert response.headers["Cache-Control"] == "no-store"
    assert page.ask("GET", page.base)[1] == (PAGE / "index.html").read_bytes()
    assert sorted(PAGE_FILES) == sorted(path.name for path in PAGE.iterdir())


def test_a_runtimes_file_is_served_with_what_is_replaced_in_it(page: FakePage) -> None:
    status, content, response = page.ask("GET", f"{page.base}runtime/@litertjs/core/dist/index.js")
    assert (status, content) == (200, b'import { a } from "../utils.js";')
    assert response.headers["Content-Type"].startswith("text/javascript")


@pytest.mark.parametrize(
    "path", ["/", "/index.html", "//", "//[::1/", "/?x=%", "/WRONG/", "/WRONG/index.html", "/%C3%A9/", "/page.js"]
)
def test_without_the_token_there_is_nothing(page: FakePage, path: str) -> None:
    assert page.ask("GET", path)[0] == 403
    assert page.ask("POST", path, b"{}")[0] == 403
    token = page.base.strip("/")
    for near in (token[:-1], token + "x", token.swapcase()):
        assert page.ask("GET", f"/{near}/")[0] == 403


@pytest.mark.parametrize(
    "path",
    [
        "../server.py",
        "%2e%2e/server.py",
        "..%2fserver.py",
        "page/../../server.py",
        "/etc/passwd",
        "runtime/",
        "runtime/../page.js",
        "runtime/@litertjs/core/dist/../dist/index.js",
        "runtime//etc/passwd",
        "runtime/@litertjs/core/package.json",
        "index.htm",
        "PAGE.JS",
    ],
)
def test_no_other_file_is_served(page: FakePage, path: str) -> None:
    assert page.ask("GET", page.base + path)[0] == 404


def test_only_the_connected_page_gets_jobs_artifacts_and_images(
    page: FakePage, exchange: Exchange, tmp_path: Path
) -> None:
    assert page.get("job")[0] == 403
    assert page.hello() == 200
    stranger = FakePage(f"http://127.0.0.1:{page.port}{page.base}")
    assert stranger.hello() == 409
    assert page.get(f"artifact/{SHA}")[0] == 404, "nothing is measured yet"
    exchange._state.task = task(tmp_path)
    for path in ("job", f"artifact/{SHA}", "pixels?start=0&count=1", "reply?job=1", "alive", "bye"):
        method = "POST" if path.startswith(("reply", "alive", "bye")) else "GET"
        assert stranger.ask(method, stranger.base + path, b"{}")[0] == 403, path
    assert page.get(f"artifact/{SHA}") == (200, b"weights")
    assert page.get(f"artifact/{'cd' * 32}")[0] == 404
    assert page.get("pixels?start=1&count=2") == (200, bytes(range(12, 36)))
    assert page.get("pixels?start=2&count=900") == (200, bytes(range(24, 36)))
    for wrong in ("pixels?start=-1&count=2", "pixels?count=2", "pixels?start=%C2%B2&count=2"):
        assert page.get(wrong)[0] == 400
    assert json.loads(page.get("job")[1])["name"] == "onnx-fp32"


@pytest.mark.parametrize(
    "change",
    [
        {"cores": 0},
        {"cores": 10**9},
        {"clock_step_ms": -1},
        {"clock_step_ms": None},
        {"secure": "perhaps"},
        {"surprise": 1},
        {"user_agent": None},
    ],
)
def test_nonsense_about_the_machine_is_refused(page: FakePage, change: dict[str, object]) -> None:
    assert page.hello(**change) == 400
    assert page.hello() == 200, "and did not take the place"


def test_what_a_terminal_would_obey_is_removed(page: FakePage, exchange: Exchange) -> None:
    page.hello(model="A\x1b[2J\nphone", user_agent="x" * 10_000)
    facts = exchange.wait_for_page(1, lambda: None)
    assert facts is not None
    assert facts.model == "A [2J phone"
    assert len(facts.user_agent) == 500


def test_bodies_without_or_with_a_huge_length_are_not_read(page: FakePage, exchange: Exchange) -> None:
    page.hello()
    path = f"{page.base}alive?client={page.client}"
    connection = HTTPConnection("127.0.0.1", page.port, timeout=10)
    connection.putrequest("POST", path)
    connection.endheaders()
    assert connection.getresponse().status == 411
    connection.close()
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", str(server_module.LARGEST_BODY + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_a_reply_nobody_asked_for_is_refused(page: FakePage) -> None:
    page.hello()
    assert page.post("reply?job=7", TURN) == 409
    assert page.post("reply?job=x", TURN) == 400
    # More digits than Python reads.
    assert page.post(f"reply?job={'9' * 5000}", TURN) == 400
    assert page.post("reply?job=7", TURN) == 409, "it goes on"


def test_it_ends_and_listens_no_longer(exchange: Exchange) -> None:
    server = PageServer(exchange, {}, "127.0.0.1", 0)
    page = FakePage(server.url("127.0.0.1"))
    page.hello()
    exchange.end()
    assert page.get("job")[0] == 410
    assert FakePage(server.url("127.0.0.1")).hello() == 409
    server.close()
    with pytest.raises(ConnectionRefusedError):
        page.get("job")


def test_a_port_that_is_taken_is_said(server: PageServer) -> None:
    with pytest.raises(UsageError, match=rf"cannot listen on 127\.0\.0\.1, port {server.port} .*choose another"):
        PageServer(Exchange(), {}, "127.0.0.1", server.port)


def test_each_server_has_its_own_token(server: PageServer) -> None:
    other = PageServer(Exchange(), {}, "127.0.0.1", 0)
    assert len(server.path) > 20
    assert server.path != other.path
    other.close()
