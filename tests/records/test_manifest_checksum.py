"""What a manifest's checksums hold together."""

import json
from pathlib import Path

import pytest
from samples import make_manifest

from mlkdc.errors import UsageError
from mlkdc.records.manifest import Manifest


def test_a_manifest_without_its_checksum_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    path = make_manifest(tmp_path, ["model.onnx"]).save(tmp_path)
    values = json.loads(path.read_text())
    del values["checksum"]
    path.write_text(json.dumps({**values, "thresholds": [0.1, 0.1, 0.1]}))
    with pytest.raises(UsageError, match="was changed since its export"):
        Manifest.load(tmp_path)


def test_the_checksum_of_files_does_not_depend_on_their_order(tmp_path: Path) -> None:
    names = ["model.bin", "model.xml"]
    for name in names:
        (tmp_path / name).write_text(name)
    one, other = make_manifest(tmp_path, names), make_manifest(tmp_path, names[::-1])
    assert one.files_sha256 == other.files_sha256
