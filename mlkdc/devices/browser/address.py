"""``browser``, ``browser://chromium?accelerator=webgpu``, ``browser+adb://SERIAL``: what they mean."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import get_args
from urllib.parse import parse_qsl, urlsplit

from mlkdc.devices.browser.messages import Accelerator
from mlkdc.errors import UsageError, nearest

OPTIONS = ("host", "port", "accelerator", "web_runtime", "wait")
EXPECTED = "expected browser, browser://chromium or browser+adb://SERIAL, with options such as ?host=0.0.0.0&port=8000"
_BROWSER = re.compile(r"browser(\+adb)?(?![A-Za-z0-9+.-])", re.IGNORECASE)
PAGE_SECONDS = 300.0
#: Chromium was seen to need a second, and ten on a busy machine.
CHROMIUM_SECONDS = 60.0


@dataclass(frozen=True)
class Address:
    """What a device's URL asks for.

    Args:
        chromium: start one here.
        adb_serial: open the page on that phone through adb; None = do not use adb.
        host, port: to listen on; port 0 = a free one.
        web_runtime: a ``node_modules`` folder; None = the cache.
        wait_seconds: for a page to connect.
    """

    chromium: bool
    adb_serial: str | None
    host: str
    port: int
    accelerator: Accelerator
    web_runtime: Path | None
    wait_seconds: float


def is_browser(url: str) -> bool:
    """Whether a device's URL names one; the rest of it may still be wrong."""
    return _BROWSER.match(url) is not None


def parse_address(url: str) -> Address:
    """Read a device's URL.

    Raises:
        UsageError: it is not one of a browser, or an option is unknown or wrong.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UsageError(f"{url} is no browser: {EXPECTED}") from None
    kind = parts.scheme or parts.path
    names = {"browser": ("", "chromium"), "browser+adb": (parts.netloc,)}
    path = parts.path if parts.scheme else ""
    if kind not in names or parts.netloc not in names[kind] or path not in ("", "/"):
        raise UsageError(f"{url} is no browser: {EXPECTED}")
    if kind == "browser+adb" and not parts.netloc:
        raise UsageError(f"{url} names no phone: expected browser+adb://SERIAL; `adb devices` lists the serials")
    options = _options(url, parts.query)
    if kind == "browser+adb" and "host" in options:
        raise UsageError(f"{url}: the page is opened as localhost on the phone; leave host out")
    chromium = parts.netloc == "chromium" and kind == "browser"
    web_runtime = options.get("web_runtime")
    return Address(
        chromium=chromium,
        adb_serial=parts.netloc if kind == "browser+adb" else None,
        host=options.get("host", "127.0.0.1"),
        port=_port(options.get("port", "0")),
        accelerator=_accelerator(options.get("accelerator", "wasm")),
        web_runtime=Path(web_runtime).expanduser() if web_runtime else None,
        wait_seconds=_seconds(options.get("wait"), CHROMIUM_SECONDS if chromium else PAGE_SECONDS),
    )


def _options(url: str, query: str) -> dict[str, str]:
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise UsageError(f"{url}: expected options as ?name=value&name=value") from None
    for name in options:
        if name not in OPTIONS:
            raise UsageError(f"{url}: a browser has no option {name!r}; {nearest(name, OPTIONS)}")
    return options


def _port(text: str) -> int:
    if text.isascii() and text.isdecimal() and int(text) < 65536:
        return int(text)
    raise UsageError(f"port={text}: expected a number below 65536, or 0 for a free one")


def _accelerator(text: str) -> Accelerator:
    for accelerator in get_args(Accelerator):
        if text == accelerator:
            known: Accelerator = accelerator
            return known
    raise UsageError(f"accelerator={text}: expected wasm or webgpu")


def _seconds(text: str | None, default: float) -> float:
    if text is None:
        return default
    if text.isascii() and text.isdecimal() and int(text) > 0:
        return float(text)
    raise UsageError(f"wait={text}: expected the seconds to wait for a page, such as wait=300")
