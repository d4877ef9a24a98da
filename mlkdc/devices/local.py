"""This machine as a device: the same agent and the same pipe as everywhere."""

import sys
from pathlib import Path

import mlkdc
from mlkdc.devices.agent import AgentDevice
from mlkdc.devices.base import Load
from mlkdc.devices.bootstrap import WITHOUT_CURRENT_FOLDER, start_code
from mlkdc.records.bench import LOCAL, Turn

# Last in the path: beside an installed mlkdc lie packages that may have the names of Python's own modules.
_EAGER = f"""\
{WITHOUT_CURRENT_FOLDER}
sys.path.append({str(Path(mlkdc.__file__).parents[1])!r})
from mlkdc.train.eager import main
main()
"""


class LocalDevice(AgentDevice):
    """The agent as a child process.

    Args:
        python: the interpreter; None = the one that runs this.
        keep: whether the agent's folder stays.
    """

    def __init__(self, python: str | None = None, *, keep: bool = False) -> None:
        super().__init__(LOCAL, [python or sys.executable, "-c", start_code()], keep=keep)

    def eager(self, run: Path, load: Load) -> Turn:
        """Time a run's torch model, for which no other device has what it takes. Raises as :meth:`turn`."""
        return self.timed(["-c", _EAGER, str(run.resolve())], load)
