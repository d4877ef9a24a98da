"""The cache is optional: where it cannot be written, another place is used, and said."""

import os
import tempfile
from pathlib import Path

import pytest

from mlkdc import resources
from mlkdc.errors import MlkdcError
from mlkdc.resources import cache_dir


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    resources._say_once.cache_clear()
    return tmp_path / "tmp"


def test_a_cache_below_a_file_is_replaced_and_said_once(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLKDC_CACHE", str(tmp_path / "file"))
    folder = cache_dir("teachers")
    assert folder.parent.parent == temporary
    assert folder == cache_dir("teachers")
    assert len(caplog.messages) == 1
    assert f"the cache {tmp_path / 'file'} cannot be written; using {folder.parent}" in caplog.messages[0]


def test_a_user_without_a_home(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("MLKDC_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert cache_dir("digits").parent.parent == temporary


def test_nothing_can_be_written(temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLKDC_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    with pytest.raises(MlkdcError, match=r"neither .* can be written; set MLKDC_CACHE"):
        cache_dir("digits")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="users have numbers on POSIX systems")
def test_another_users_folder_is_not_used(temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "theirs").mkdir()
    monkeypatch.setenv("MLKDC_CACHE", str(tmp_path / "file"))
    (temporary / f"mlkdc-cache-{os.geteuid()}").symlink_to(tmp_path / "theirs")
    with pytest.raises(MlkdcError, match="can be written"):
        cache_dir("digits")
