"""A full disk is not the architecture's fault."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from mlkdc.errors import MlkdcError
from mlkdc.exporting import formats


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "cannot be written .*free some space"), (5, "report this")]
)
def test_it_is_said(number: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(job: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(formats, "EXPORTERS", SimpleNamespace(get=lambda name: fail))
    job = SimpleNamespace(folder=tmp_path, target=SimpleNamespace(name="onnx", format="onnx", install=""))
    with pytest.raises(MlkdcError, match=said):
        formats.run_exporter(job)  # type: ignore[arg-type]
