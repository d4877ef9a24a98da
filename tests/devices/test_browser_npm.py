"""Fetching runtimes from a registry on this machine: pinned, kept once, refused when they are not what is expected."""

import base64
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from mlkdc.devices.browser import npm
from mlkdc.devices.browser.npm import Package
from mlkdc.devices.browser.runtimes import LITERT, PACKAGES, find_runtime, runtime_versions
from mlkdc.errors import MlkdcError, UsageError
from mlkdc.resources import cache_dir

PATH = "/@some/tool/-/tool-1.2.3.tgz"


def tarball(**files: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in {"package.json": '{"version": "1.2.3"}', **files}.items():
            member = tarfile.TarInfo(f"package/{name.replace('__', '/')}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


CONTENT = tarball(dist__tool="run", dist__other="not needed")
SHA512 = base64.b64encode(hashlib.sha512(CONTENT).digest()).decode()
TOOL = Package("@some/tool", "1.2.3", SHA512, 0.1, ("package.json", "dist/tool"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A registry that has one package; the paths that it was asked for."""
    paths: list[str] = []

    class Registry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200 if self.path == f"/npm{PATH}" else 404)
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Registry)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/npm/")
    yield paths
    server.shutdown()
    server.server_close()


def test_it_is_said_fetched_once_and_only_what_is_needed_is_kept(asked: list[str]) -> None:
    said: list[str] = []
    place = npm.in_cache(TOOL, said.append)
    assert sorted(path.name for path in place.rglob("*") if path.is_file()) == ["package.json", "tool"]
    assert (place / "dist/tool").read_text() == "run"
    assert npm.version(place) == "1.2.3"
    assert npm.in_cache(TOOL, said.append) == place
    assert asked == [f"/npm{PATH}"]
    assert len(said) == 1
    assert said[0].startswith("fetching http://127.0.0.1:")
    assert said[0].endswith("tool-1.2.3.tgz (0.1 MB), once")


def test_another_file_than_the_pinned_one_is_refused_and_not_kept(asked: list[str]) -> None:
    changed = replace(TOOL, sha512=SHA512[::-1])
    with pytest.raises(MlkdcError, match="is not the file that mlkdc expects and was not kept: its SHA-512 is"):
        npm.in_cache(changed, lambda _: None)
    assert not list(cache_dir("web").rglob("*"))


def test_what_the_registry_lacks_says_what_else_to_do(asked: list[str]) -> None:
    with pytest.raises(MlkdcError, match=r"could not fetch .*404.*npm install @some/tool@9\.9\.9"):
        npm.in_cache(replace(TOOL, version="9.9.9"), lambda _: None)


def test_no_registry_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:1")
    with pytest.raises(MlkdcError, match=r"could not fetch http://127\.0\.0\.1:1/@some/tool/-/tool-1\.2\.3\.tgz"):
        npm.in_cache(TOOL, lambda _: None)
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "nonsense")
    with pytest.raises(MlkdcError, match="could not fetch nonsense"):
        npm.in_cache(TOOL, lambda _: None)


def test_a_full_disk(asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(npm, "_unpack", full)
    with pytest.raises(MlkdcError, match=r"could not keep @some/tool@1\.2\.3 in the cache .*MLKDC_CACHE"):
        npm.in_cache(TOOL, lambda _: None)


def test_the_users_npm_says_where_the_registry_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry"):
        monkeypatch.delenv(name, raising=False)
    program = tmp_path / "npm"
    program.write_text('#!/bin/sh\n[ "$*" = "config get registry" ] && echo http://mirror.example/npm/\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert npm.registry() == "http://mirror.example/npm"
    program.unlink()
    with pytest.raises(UsageError, match="there is no npm here"):
        npm.registry()


def test_a_folder_of_the_users_is_used_as_it_is(tmp_path: Path) -> None:
    for package in PACKAGES["litert"]:
        for name in package.files:
            path = tmp_path / package.name / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('{"version": "7.7.7"}' if name == "package.json" else 'from "@litertjs/wasm-utils"')
    files = find_runtime("litert", tmp_path, pytest.fail)
    assert b"wasm-utils/dist/index.js" in files["@litertjs/core/dist/index.js"].read()
    assert files["@litertjs/core/wasm/litert_wasm_internal.js"].read() == b'from "@litertjs/wasm-utils"'
    assert runtime_versions(tmp_path) == {"LiteRT.js": "7.7.7"}
    (tmp_path / "@litertjs/core/dist/index.js").unlink()
    with pytest.raises(UsageError, match=r"dist/index\.js is missing; expected a node_modules with @litertjs/core@"):
        find_runtime("litert", tmp_path, pytest.fail)


def test_pinned_hashes_are_whole() -> None:
    for packages in PACKAGES.values():
        for package in packages:
            assert len(base64.b64decode(package.sha512, validate=True)) == 64
    assert runtime_versions(None)["LiteRT.js"] == LITERT.version
