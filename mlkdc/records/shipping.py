"""Whether a row of bench.json is of the artifact that lies there now, and whether that may be shipped."""

from datetime import datetime

from mlkdc.records.bench import LatencyRow
from mlkdc.records.manifest import Manifest, Status


def is_of_earlier_files(row: LatencyRow, manifest: Manifest, when: str) -> bool:
    """Whether a row, measured at ``when``, is of other files than the artifact has now: it was exported again."""
    if row.artifact_sha256 is not None:
        return row.artifact_sha256 != manifest.files_sha256
    # Earlier versions did not record which files they measured.
    return _moment(manifest.created) > _moment(when)


def fault(row: LatencyRow, status: Status | None) -> str:
    """Why an artifact of that status must not be shipped to the row's device; empty where nothing speaks against it.

    One whose runtime could not run at its export counts once the device has confirmed its answers.
    """
    if row.answers_otherwise:
        return "answers otherwise than the torch model there"
    if status == "failed":
        return "failed its parity check"
    confirmed = row.accuracy is not None and row.accuracy.within_tolerance
    if status == "unverified" and not confirmed:
        return "was not compared with the torch model, neither at its export nor there"
    return ""


def _moment(text: str) -> float:
    """Seconds since the epoch: times of different time zones compare as text only by accident."""
    return datetime.fromisoformat(text).timestamp()
