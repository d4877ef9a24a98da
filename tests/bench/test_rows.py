"""What artifacts are called in the table: each by a name that no other has."""

import shutil

import pytest

from mlkdc.bench import artifact_rows
from mlkdc.errors import UsageError
from mlkdc.records.parity import Parity


@pytest.fixture
def copied(make_artifact, tmp_path):
    """``copied("a/export/x", ...)``: copies of the tiny artifact in these folders."""
    folder = make_artifact()
    return lambda *places: [shutil.copytree(folder, tmp_path / place) for place in places]


@pytest.mark.parametrize(
    ("places", "names"),
    [
        (["a/export/onnx-fp32", "a/export/onnx-int8"], ["onnx-fp32", "onnx-int8"]),
        (["teacher/export/onnx-fp32", "student/export/onnx-fp32"], ["teacher/onnx-fp32", "student/onnx-fp32"]),
        (["a/r/export/onnx-fp32", "b/r/export/onnx-fp32"], ["a/r/onnx-fp32", "b/r/onnx-fp32"]),
        (["a/export/onnx-fp32", "a/other/onnx-fp32"], ["export/onnx-fp32", "other/onnx-fp32"]),
        (
            ["a/r/export/onnx-fp32", "b/r/export/onnx-fp32", "s/export/onnx-fp32"],
            ["a/r/onnx-fp32", "b/r/onnx-fp32", "s/onnx-fp32"],
        ),
    ],
)
def test_equal_names_get_the_folders_in_front_that_tell_them_apart(copied, places, names):
    assert [row.name for row in artifact_rows(copied(*places))] == names


def test_an_artifact_that_is_named_twice_is_one_row(copied, tmp_path):
    (folder,) = copied("r/export/onnx-fp32")
    (tmp_path / "link").symlink_to(folder)
    again = folder.parent / ".." / "export" / "onnx-fp32"
    assert [row.name for row in artifact_rows([folder, again, tmp_path / "link"])] == ["onnx-fp32"]


def test_a_failed_export_says_what_helps(make_artifact):
    failed = Parity(passed=False, reason="mAP drops by 3")
    (row,) = artifact_rows([make_artifact(status="failed", parity=failed)])
    assert row.skipped.endswith(
        "onnx-fp32 is a failed export (mAP drops by 3) and is not measured; export the run again, in another "
        "precision or with a larger --max-drop"
    )


def test_what_is_no_artifact_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is not an artifact"):
        artifact_rows([tmp_path])
