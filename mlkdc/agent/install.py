"""What a user types on the device to install a package for its Python. Standard library only."""

import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

#: Beside the standard library of a Python whose packages the system installs, and in which pip refuses to (PEP 668).
MANAGED = "EXTERNALLY-MANAGED"
ENVIRONMENT = "~/mlkdc"


def install_line(package: str) -> str:
    """The line: pip's, or one that makes an environment where pip is missing or refuses."""
    if not environment_python():
        return f"{sys.executable} -m pip install {package}"
    packages = " ".join(dict.fromkeys(["numpy", package]))
    line = f"{sys.executable} -m venv {ENVIRONMENT} && {ENVIRONMENT}/bin/pip install {packages}"
    # Debian has what makes environments in a package of its own.
    if find_spec("ensurepip") is None:
        line = f"sudo apt install python3-venv && {line}"
    return line


def environment_python() -> str:
    """The Python for which the line installs, where it is another than this; else empty."""
    managed = (Path(sysconfig.get_path("stdlib")) / MANAGED).is_file() and sys.prefix == sys.base_prefix
    if find_spec("pip") is not None and not managed:
        return ""
    return str(Path(ENVIRONMENT).expanduser() / "bin/python")


def run_there(package: str) -> str:
    """The end of a sentence: what to do."""
    python = environment_python()
    if not python:
        return f"run there: {install_line(package)}"
    return f"run there: {install_line(package)}; then name that Python with ?python={python}"
