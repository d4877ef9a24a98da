import pytest

from mlkdc.errors import UsageError
from mlkdc.exporting.formats import EXPORTERS
from mlkdc.resources import shipped
from mlkdc.runtime import targets
from mlkdc.runtime.base import RUNTIMES
from mlkdc.runtime.targets import load_target, target_names


@pytest.mark.parametrize("path", sorted(shipped("export").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_target_can_be_exported_and_run(path):
    target = load_target(path.stem)
    assert path.stem in target_names()
    assert target.format in EXPORTERS.names()
    assert target.runtime in RUNTIMES.names()
    assert all(target.tolerance(precision) for precision in target.precisions)


def test_a_mistyped_target_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"unknown target 'onxx'; did you mean onnx\?"):
        load_target("onxx")


def test_a_mistyped_precision_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"target onnx has no precision 'fp31'; did you mean fp32\?"):
        load_target("onnx").tolerance("fp31")


def test_every_fault_of_a_target_file_is_reported_at_once(tmp_path, monkeypatch):
    text = (shipped("export") / "onnx.yaml").read_text(encoding="utf-8")
    text = text.replace("opset: 20", "opzet: 20").replace("map_drop_points: 0.1", "map_drop_points: -1")
    (tmp_path / "onnx.yaml").write_text(text)
    monkeypatch.setattr(targets, "shipped", lambda kind: tmp_path)
    with pytest.raises(UsageError) as caught:
        load_target("onnx")
    assert "unknown key opzet" in str(caught.value)
    assert "precisions.fp32.map_drop_points: input should be greater" in str(caught.value)


def test_a_target_file_must_be_named_as_its_target(tmp_path, monkeypatch):
    (tmp_path / "other.yaml").write_text((shipped("export") / "onnx.yaml").read_text(encoding="utf-8"))
    monkeypatch.setattr(targets, "shipped", lambda kind: tmp_path)
    with pytest.raises(UsageError, match="expected name: other, got onnx"):
        load_target("other")
