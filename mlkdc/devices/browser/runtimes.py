"""The runtimes of browsers, and which of their files a page needs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlkdc.devices.browser import npm
from mlkdc.devices.browser.messages import Engine
from mlkdc.devices.browser.npm import Package

_BUILDS = ("litert_wasm_internal", "litert_wasm_compat_internal", "litert_wasm_threaded_internal")
LITERT_FILES = (
    "package.json",
    "dist/index.js",
    *(f"wasm/{build}.{ending}" for build in _BUILDS for ending in ("js", "wasm")),
)
LITERT = Package(
    "@litertjs/core",
    "2.5.3",
    "PlGmbMOq9WitX7FO0jhbdJw9GthatsyuCQXjTt/wJZo0FLaw48q4tz8IwqgqCIkviYGr9OFDL1kCnN4nzWoyJQ==",
    11.8,
    LITERT_FILES,
)
LITERT_UTILS = Package(
    "@litertjs/wasm-utils",
    "2.5.3",
    "4fJiw6tBQnIs+0jH/OQ16nYOiSl8/+zZnn5h2ul8aTKHi05sVqZW580Tmk78pC2kT39A9OYBVdFawteZ/sI1kQ==",
    0.1,
    ("package.json", "dist/index.js"),
)
ORT = Package(
    "onnxruntime-web",
    "1.30.0",
    "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    33.1,
    (
        "package.json",
        "dist/ort.wasm.min.mjs",
        "dist/ort-wasm-simd-threaded.mjs",
        "dist/ort-wasm-simd-threaded.wasm",
        "dist/ort.webgpu.min.mjs",
        "dist/ort-wasm-simd-threaded.asyncify.mjs",
        "dist/ort-wasm-simd-threaded.asyncify.wasm",
    ),
)
PACKAGES: dict[Engine, tuple[Package, ...]] = {"litert": (LITERT, LITERT_UTILS), "onnxruntime": (ORT,)}
ENDINGS: dict[Engine, str] = {"litert": ".tflite", "onnxruntime": ".onnx"}
NAMES: dict[Engine, str] = {"litert": "LiteRT.js", "onnxruntime": "onnxruntime-web"}

# Import maps, which would tell where this package is, do not reach workers.
_IMPORT = ('from "@litertjs/wasm-utils"', 'from "../../wasm-utils/dist/index.js"')


@dataclass(frozen=True)
class RuntimeFile:
    """A file of a runtime.

    Args:
        path: on this machine.
        replaced: a text in it, and what is served instead; both empty for nothing.
    """

    path: Path
    replaced: tuple[str, str] = ("", "")

    def read(self) -> bytes:
        """What is served."""
        old, new = (text.encode() for text in self.replaced)
        content = self.path.read_bytes()
        return content.replace(old, new) if old else content


def find_runtime(engine: Engine, folder: Path | None, say: Callable[[str], None]) -> dict[str, RuntimeFile]:
    """Where a runtime's files are, by their path below ``runtime/`` on the server.

    They are fetched into the cache where they are not there yet and no folder is given.

    Args:
        folder: with packages as npm installs them (``node_modules``); any version is taken.
        say: hears of a download before it begins.

    Raises:
        UsageError: the folder lacks a file.
        MlkdcError: the download failed, its SHA-512 is another, or the cache is not writable.
    """
    files = {}
    for package in PACKAGES[engine]:
        place = npm.in_folder(package, folder) if folder else npm.in_cache(package, say)
        for name in package.files:
            replaced = _IMPORT if (package, name) == (LITERT, "dist/index.js") else ("", "")
            files[f"{package.name}/{name}"] = RuntimeFile(place / name, replaced)
    return files


def runtime_versions(folder: Path | None) -> dict[str, str]:
    """Of the runtimes that a page is given, by name; of a folder's, those that it has."""
    versions = {}
    for engine, packages in PACKAGES.items():
        if folder is None:
            versions[NAMES[engine]] = packages[0].version
        elif (folder / packages[0].name / "package.json").is_file():
            versions[NAMES[engine]] = npm.version(folder / packages[0].name)
    return versions
