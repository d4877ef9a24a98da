"""A fake page: speaks to the server as the real one does, and says what a test tells it to."""

import json
import re
from collections.abc import Callable
from http.client import HTTPConnection, HTTPResponse
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

FACTS: dict[str, Any] = {
    "user_agent": "Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 Chrome/156.0.1.2 Mobile Safari/537.36",
    "cores": 8,
    "memory_gib": 4,
    "secure": True,
    "isolated": True,
    "clock_step_ms": 0.005,
    "adapter": None,
    "browser": None,
    "architecture": "arm",
    "model": "Phone 9",
    "platform": "Android 16",
}
TURN: dict[str, Any] = {
    "kind": "turn",
    "load_ms": 30.0,
    "first_ms": 20.0,
    "warmup_runs": 41,
    "settled": True,
    "clock_step_ms": 0.005,
    "calls_per_sample": 1,
    "samples_ms": [2.0 + 0.001 * number for number in range(300)],
    "hidden": False,
}


class FakePage:
    """A client of the address that a device said."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        self.host, self.port, self.base = parts.hostname, parts.port, parts.path
        self.client = ""

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes, HTTPResponse]:
        """One request with the path as it is, which urllib would tidy."""
        connection = HTTPConnection(self.host, self.port, timeout=30)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, content, response

    def get(self, path: str) -> tuple[int, bytes]:
        separator = "&" if "?" in path else "?"
        status, content, _ = self.ask("GET", f"{self.base}{path}{separator}client={self.client}")
        return status, content

    def post(self, path: str, value: object) -> int:
        separator = "&" if "?" in path else "?"
        status, _, _ = self.ask("POST", f"{self.base}{path}{separator}client={self.client}", json.dumps(value).encode())
        return status

    def hello(self, **changes: object) -> int:
        status, content, _ = self.ask("POST", f"{self.base}hello", json.dumps({**FACTS, **changes}).encode())
        if status == 200:
            self.client = json.loads(content)["client"]
        return status

    def job(self) -> dict[str, Any]:
        """The next one, waited for."""
        while True:
            status, content = self.get("job")
            if status == 200:
                return dict(json.loads(content))
            assert status == 204


class Invited:
    """Hears what a device says, and lets ``behave(page)`` run in a thread once an address was said."""

    def __init__(self, behave: Callable[[FakePage], None]) -> None:
        self.said: list[str] = []
        self.behave = behave
        self.threads: list[Thread] = []

    def say(self, text: str) -> None:
        self.said.append(text)
        match = re.search(r"http://127\.0\.0\.1:\d+/\S+/$", text)
        if match and not self.threads:
            thread = Thread(target=self.behave, args=(FakePage(match[0]),), daemon=True)
            self.threads.append(thread)
            thread.start()
