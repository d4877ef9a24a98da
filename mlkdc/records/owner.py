"""owner.json: which process is training in a run folder, for whoever finds the folder locked."""

from datetime import datetime
from typing import ClassVar

from mlkdc.records.base import FileRecord, Moment


class Owner(FileRecord):
    """A process that holds the lock of a run folder, and since when."""

    FILE: ClassVar[str] = ".owner.json"
    FORMAT: ClassVar[int] = 1
    REMEDY: ClassVar[str] = "delete it when nothing trains in the folder"

    pid: int
    host: str
    since: Moment

    def __str__(self) -> str:
        began = datetime.fromisoformat(self.since)
        minutes = (datetime.now().astimezone() - began).total_seconds() / 60
        return f"process {self.pid} on {self.host}, since {began:%Y-%m-%d %H:%M} ({minutes:.0f} minutes)"
