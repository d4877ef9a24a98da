"""What all records share: frozen, checked, and read from a file that says which format it has."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self

from mlkdc.errors import UsageError
from mlkdc.resources import write_json

SHOWN_FAULTS = 3


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


#: A date and time in ISO 8601.
Moment = Annotated[str, AfterValidator(_moment)]
#: From a nanosecond to eleven days: no call takes less or more.
Milliseconds = Annotated[float, Field(ge=1e-6, lt=1e9, allow_inf_nan=False)]


class Record(BaseModel):
    """A typed part of a file: it cannot be changed, and unknown or missing keys are faults."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRecord(Record):
    """The content of one JSON file; ``FILE`` is its name in the folder, ``FORMAT`` what this version writes."""

    FILE: ClassVar[str]
    FORMAT: ClassVar[int]
    REMEDY: ClassVar[str]
    """What a user does about a file that cannot be read."""

    def save(self, folder: Path) -> Path:
        """Write the file into ``folder``, completely or not at all, and return its path.

        Raises:
            MlkdcError: the disk is full or not writable.
        """
        path = folder / self.FILE
        self.save_as(path)
        return path

    def save_as(self, path: Path) -> None:
        """Write the file under another name. Raises as :meth:`save`."""
        write_json(path, {"format": self.FORMAT, **self.model_dump(mode="json")})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the file of that folder.

        Raises:
            UsageError: missing, not JSON, of a format this version cannot read, or with wrong keys or values; says
                which and what to do.
        """
        return cls.load_from(folder / cls.FILE)

    @classmethod
    def load_from(cls, path: Path) -> Self:
        """Read the file under another name. Raises as :meth:`load`."""
        return cls.from_values(path, read_mapping(path, cls.REMEDY))

    @classmethod
    def from_values(cls, path: Path, values: dict[str, Any]) -> Self:
        """The record of what was read from a file. Raises as :meth:`load`."""
        written = values.pop("format", None)
        if written != cls.FORMAT:
            upgraded = cls.upgraded(written, values)
            if upgraded is None:
                raise UsageError(
                    f"{path} has format {written!r}, this version of mlkdc reads format {cls.FORMAT}; {cls.REMEDY}"
                )
            values = upgraded
        try:
            return cls(**values)
        except ValidationError as error:
            raise UsageError(f"{path}: {faults(error)}; {cls.REMEDY}") from None

    @classmethod
    def upgraded(cls, written: object, values: dict[str, Any]) -> dict[str, Any] | None:
        """The values of an older format under the keys of this version; None where that format is no longer read."""
        return None


def read_mapping(path: Path, remedy: str) -> dict[str, Any]:
    """A JSON object from a file; NaN and infinity, which are not JSON, are read as null.

    Raises:
        UsageError: missing, not UTF-8, not JSON, or not an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except FileNotFoundError:
        raise UsageError(f"{path} is missing; {remedy}") from None
    # Not only JSON's own error: numbers of thousands of digits, and thousands of brackets in one another.
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON ({error}); {remedy}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error}); {remedy}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected a JSON object, got {type(values).__name__}; {remedy}")
    return values


def faults(error: ValidationError) -> str:
    """The first few faults of a record in one clause, each with its dotted key."""
    clauses = []
    for item in error.errors()[:SHOWN_FAULTS]:
        key = ".".join(str(part) for part in item["loc"])
        kind, message = item["type"], item["msg"].removeprefix("Value error, ")
        if kind == "missing":
            clauses.append(f"{key} is missing")
        elif kind == "extra_forbidden":
            clauses.append(f"unknown key {key}")
        elif not key:  # a check of several fields together
            clauses.append(message)
        else:
            clauses.append(f"{key}: {message[:1].lower()}{message[1:]}, got {item['input']!r}")
    more = error.error_count() - len(clauses)
    if more > 0:
        clauses.append(f"and {more} more")
    return "; ".join(clauses)


def read_run_text(path: Path) -> str:
    """A text file of a run folder.

    Raises:
        UsageError: it is missing, cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}); copy the complete run folder") from None
