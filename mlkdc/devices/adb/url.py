"""``adb://SERIAL[?python=PATH|benchmark_model=PATH|executor_runner=PATH]``."""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from mlkdc.errors import UsageError, nearest

SCHEME = "adb://"
OPTIONS = ("python", "benchmark_model", "executor_runner")

# As adb lists them: letters and digits, emulator-5554, 192.168.1.7:5555, adb-X._adb-tls-connect._tcp.
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
# These go into a command line of the phone's shell: nothing that means something there.
_PATH = re.compile(r"/[A-Za-z0-9/_.+-]*")


@dataclass(frozen=True)
class AdbUrl:
    """What the user asked for.

    Args:
        serial: of the phone; None = the only one.
        python, benchmark_model, executor_runner: absolute paths on the phone.
    """

    serial: str | None = None
    python: str | None = None
    benchmark_model: str | None = None
    executor_runner: str | None = None


def parse_url(url: str) -> AdbUrl:
    """Read such a URL.

    Raises:
        UsageError: another scheme, a serial or path with other characters than expected, or an unknown option.
    """
    rest = url.removeprefix(SCHEME)
    if rest == url:
        raise UsageError(f"expected {SCHEME}SERIAL or {SCHEME} for the only phone, got {url!r}")
    serial, _, query = rest.partition("?")
    serial = serial.removesuffix("/")
    if serial and not _SERIAL.fullmatch(serial):
        raise UsageError(f"{url!r}: {serial!r} is no serial number; take one that `adb devices` lists")
    paths = _paths(url, query)
    return AdbUrl(serial or None, **paths)


def _paths(url: str, query: str) -> dict[str, str]:
    paths: dict[str, str] = {}
    # A + is a plus sign here, not a space.
    for name, path in parse_qsl(query.replace("+", "%2B"), keep_blank_values=True):
        if name not in OPTIONS:
            raise UsageError(f"{url!r}: there is no option {name!r}; {nearest(name, OPTIONS)}")
        if not _PATH.fullmatch(path):
            raise UsageError(
                f"{url!r}: expected an absolute path on the phone of letters, digits and /_.+- for {name}, got {path!r}"
            )
        paths[name] = path
    if "python" in paths and len(paths) > 1:
        raise UsageError(f"{url!r}: expected either python or programs for a phone without it, got {', '.join(paths)}")
    return paths
