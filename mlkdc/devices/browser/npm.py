"""Files of npm packages of pinned versions, fetched once into the cache, or from a folder of the user's."""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from mlkdc.errors import MlkdcError, UsageError, first_line
from mlkdc.resources import cache_dir

SECONDS = 60.0
LARGEST_TARBALL = 100 * 2**20
_OTHERWISE = "or give ?web_runtime=FOLDER/node_modules, a folder in which `npm install {package}` was run"


@dataclass(frozen=True)
class Package:
    """One npm package.

    Args:
        sha512: of its tarball, in base64, as npm's ``integrity`` has it.
        megabytes: of that tarball.
        files: that are needed of it.
    """

    name: str
    version: str
    sha512: str
    megabytes: float
    files: tuple[str, ...]

    @property
    def install(self) -> str:
        """As npm names it."""
        return f"{self.name}@{self.version}"


def in_folder(package: Package, folder: Path) -> Path:
    """Where the package is in a ``node_modules`` folder, in whatever version.

    Raises:
        UsageError: it lacks a file.
    """
    place = folder / package.name
    for name in package.files:
        if not (place / name).is_file():
            raise UsageError(f"{place / name} is missing; expected a node_modules with {package.install} in {folder}")
    return place


def in_cache(package: Package, say: Callable[[str], None]) -> Path:
    """Where the package is in the cache, fetched first where it is not there.

    Args:
        say: hears of the download before it begins.

    Raises:
        MlkdcError: the download failed, its SHA-512 is another, or the cache is not writable.
    """
    try:
        place = cache_dir("web") / package.name.replace("/", "+") / package.version
        # It is renamed to this name once it is complete.
        if not place.is_dir():
            _unpack(package, _fetch(package, say), place)
    except OSError as error:
        raise MlkdcError(
            f"could not keep {package.install} in the cache ({error}); let MLKDC_CACHE name a writable folder, "
            + _OTHERWISE.format(package=package.install)
        ) from error
    return place


def version(place: Path) -> str:
    """Of an unpacked package."""
    found = json.loads((place / "package.json").read_text(encoding="utf-8"))["version"]
    return str(found)


def registry() -> str:
    """Where the user's npm fetches packages.

    Raises:
        UsageError: there is no npm to ask, and NPM_CONFIG_REGISTRY does not say.
    """
    for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry"):
        if os.environ.get(name):
            return os.environ[name].rstrip("/")
    npm = shutil.which("npm")
    if npm:
        done = subprocess.run(
            [npm, "config", "get", "registry"], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if done.returncode == 0 and done.stdout.startswith("http"):
            return done.stdout.strip().rstrip("/")
    raise UsageError(
        "there is no npm here to ask where packages are fetched from; install it, let NPM_CONFIG_REGISTRY name a "
        "registry, or give ?web_runtime=FOLDER/node_modules"
    )


def _fetch(package: Package, say: Callable[[str], None]) -> bytes:
    """The tarball, checked."""
    base = package.name.rpartition("/")[2]
    url = f"{registry()}/{package.name}/-/{base}-{package.version}.tgz"
    say(f"fetching {url} ({package.megabytes:g} MB), once")
    try:
        with urlopen(Request(url, headers={"User-Agent": "mlkdc"}), timeout=SECONDS) as response:
            content: bytes = response.read(LARGEST_TARBALL)
    # Among OSError are refused connections and answers such as 404.
    except (OSError, HTTPException, ValueError) as error:
        reason = first_line(error)
        raise MlkdcError(f"could not fetch {url} ({reason}); {_OTHERWISE.format(package=package.install)}") from error
    got = base64.b64encode(hashlib.sha512(content).digest()).decode()
    if got != package.sha512:
        raise MlkdcError(
            f"{url} is not the file that mlkdc expects and was not kept: its SHA-512 is {got}, not {package.sha512}"
        )
    return content


def _unpack(package: Package, tarball: bytes, place: Path) -> None:
    """Put the files that are needed at ``place``, all of them or none."""
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{package.version}.", dir=place.parent))
    try:
        with tarfile.open(fileobj=io.BytesIO(tarball), mode="r:gz") as archive:
            for name in package.files:
                member = archive.extractfile(f"package/{name}")
                assert member is not None  # the tarball is the pinned one
                target = temporary / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(member.read())
        _rename(temporary, place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _rename(temporary: Path, place: Path) -> None:
    try:
        temporary.rename(place)
    except OSError:
        # Another process was faster: its files are the same.
        if not place.is_dir():
            raise
