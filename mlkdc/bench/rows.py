"""What is timed: artifacts, and the torch model that they came from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlkdc.devices import Subject
from mlkdc.errors import UsageError
from mlkdc.records.bench import BASELINE
from mlkdc.records.manifest import Manifest
from mlkdc.runtime.session import check_artifact, refuse_failed

#: Ends the sentence on a failed export, which bench never measures.
FAILED_WAY_OUT = "is not measured; export the run again, in another precision or with a larger --max-drop"


@dataclass(frozen=True)
class Row:
    """One line of the latency table, on each device and at each number of threads.

    Args:
        name: shown.
        subject: the artifact; None for a run's torch model.
        run: folder of the run, for its torch model.
        size_bytes: of the model files; None where that means nothing.
        skipped: why it is not measured at all.
    """

    name: str
    subject: Subject | None = None
    run: Path | None = None
    size_bytes: int | None = None
    skipped: str | None = None

    @property
    def precision(self) -> str | None:
        """Of an artifact."""
        return self.subject.manifest.precision if self.subject else None

    @property
    def sha256(self) -> str | None:
        """Over the names and checksums of an artifact's files."""
        return self.subject.manifest.files_sha256 if self.subject else None


def named(folders: Sequence[Path]) -> list[tuple[str, Path]]:
    """Artifacts by the names of their folders; equal names get their run's in front, and what is above it if need be.

    One that is there twice, by whatever path, is named once.
    """
    paths = list(dict.fromkeys(Path(folder).resolve() for folder in folders))
    without_export = [path.parent.parent / path.name for path in paths]  # of RUN/export/onnx-fp32
    if len(set(without_export)) < len(paths):
        # It is the folder between them that differs.
        without_export = paths
    return list(zip(endings(without_export), paths, strict=True))


def endings(paths: Sequence[Path]) -> list[str]:
    """As many last parts of each path as tell it from the others, which are other paths."""
    found = []
    for path in paths:
        count = 1
        while count < len(path.parts) and sum(path.parts[-count:] == other.parts[-count:] for other in paths) > 1:
            count += 1
        found.append("/".join(path.parts[-count:]))
    return found


def artifact_rows(folders: Sequence[Path]) -> list[Row]:
    """The rows of artifacts, as :func:`named` calls them.

    One that failed its parity check, or whose files are damaged, is a row that says so.

    Raises:
        UsageError: a folder holds no readable manifest.
    """
    rows = []
    for name, path in named(folders):
        manifest = Manifest.load(path)
        skipped = None
        try:
            refuse_failed(path, manifest, FAILED_WAY_OUT)
            check_artifact(path, manifest)
        except UsageError as error:
            skipped = str(error)
        rows.append(Row(name, Subject(path, manifest), size_bytes=manifest.size_bytes, skipped=skipped))
    return rows


def eager_row(run: Path, weights: Path, name: str = BASELINE) -> Row:
    """The torch model of a run."""
    return Row(name, run=run, size_bytes=weights.stat().st_size)
