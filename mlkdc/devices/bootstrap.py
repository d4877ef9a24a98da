"""The agent as one file, and the line of Python that starts it at the other end of a pipe."""

import base64
import io
import zipfile
from functools import cache
from pathlib import Path

import mlkdc
from mlkdc.agent.frames import MAGIC
from mlkdc.agent.others import PREFIX

#: Packages and modules that travel; the rest of mlkdc needs more than a device has.
MODULES = ("errors.py", "fit.py", "images.py", "registry.py", "spread.py", "agent", "runtime/backends")
RUNTIME = ("base", "conditions", "cuda", "metadata", "model", "photos", "quiet", "spec", "system", "timing")

MAIN = """\
import sys

try:
    from mlkdc.agent.process import end_with_parent
    from mlkdc.agent.worker import main
except ImportError as error:
    from mlkdc.agent.install import run_there
    sys.exit("the device's Python cannot import NumPy (%s); %s" % (error, run_there("numpy")))
# An agent that is killed cannot end its worker, which would slow down the next measurement.
end_with_parent()
sys.exit(main())
"""

#: Comes first in ``python -c``, which looks for modules in the current folder, over ssh the home folder, where a
#: random.py of the user's would be taken for Python's. ``-P`` is Python 3.11's.
WITHOUT_CURRENT_FOLDER = "import sys;sys.path=[p for p in sys.path if p]"

# Python 2 and every Python 3 can read this much, so that an old one can say that it is too old.
START = f"""\
import os, sys
def more(count):
    data = b""
    while len(data) < count:
        part = os.read(0, count - len(data))
        if not part:
            sys.exit(0)
        data += part
    return data
def say(data):
    while data:
        data = data[os.write(1, data):]
def refuse(why):
    import json
    text = json.dumps({{"error": why}}).encode()
    say(b"%010d %010d\\n" % (len(text), 0) + text)
    sys.exit(1)
program = more(int(more(10)))
os.write(2, {MAGIC!r})
say({MAGIC!r})
if sys.version_info < (3, 10):
    found = "%s is %d.%d" % ((sys.executable,) + tuple(sys.version_info[:2]))
    refuse("expected Python 3.10 or later there, " + found + "; name another with ?python=PATH")
import tempfile, shutil
folder = None
try:
    folder = tempfile.mkdtemp(prefix={PREFIX!r})
    path = os.path.join(folder, "agent.pyz")
    with open(path, "wb") as stream:
        stream.write(program)
except (IOError, OSError) as error:
    if folder:
        shutil.rmtree(folder, True)
    refuse("no room for the agent in %s (%s)" % (tempfile.gettempdir(), error))
try:
    sys.path.insert(0, path)
    from pathlib import Path
    from mlkdc.agent.serve import Agent
    Agent(Path(folder), Path(path)).serve()
except BaseException:
    # No later agent would: the folder may not say yet that its agent lived.
    shutil.rmtree(folder, True)
    raise
"""


@cache
def archive() -> bytes:
    """The agent as a zip file that Python runs."""
    package = Path(mlkdc.__file__).parent
    names = [f"runtime/{name}.py" for name in RUNTIME]
    for entry in MODULES:
        if entry.endswith(".py"):
            names.append(entry)
        else:
            names += sorted(f"{entry}/{path.name}" for path in (package / entry).glob("*.py"))
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as target:
        _add(target, "__main__.py", MAIN)
        for name in ("__init__.py", "runtime/__init__.py"):
            _add(target, f"mlkdc/{name}", "")
        for name in names:
            _add(target, f"mlkdc/{name}", (package / name).read_text(encoding="utf-8"))
    return written.getvalue()


def _add(target: zipfile.ZipFile, name: str, text: str) -> None:
    # A fixed date: the same sources give the same bytes.
    target.writestr(zipfile.ZipInfo(name), text, zipfile.ZIP_DEFLATED)


def start_code() -> str:
    """What follows ``python3 -c``: one line without quotes but ``'``, which every shell passes on between ``"``."""
    code = base64.b64encode(START.encode()).decode()
    return f"{WITHOUT_CURRENT_FOLDER};import base64;exec(base64.b64decode('{code}'))"


def greeting() -> bytes:
    """What :func:`start_code` reads first."""
    return b"%010d" % len(archive()) + archive()
