"""A manifest that was edited, its checksum computed again: the model file still says what it was made with."""

import json
import re

import phone
import pytest

from mlkdc.errors import UsageError
from mlkdc.records.manifest import describe_files
from mlkdc.records.metadata import EMBEDDING, metadata
from mlkdc.records.preparation import Preparation
from mlkdc.runtime import open_artifact
from mlkdc.runtime.metadata import check_metadata, fingerprint
from mlkdc.runtime.targets import load_target, target_names

pytestmark = [pytest.mark.converter, pytest.mark.timeout(900)]
CLASSES = ("rød", "green", 'a "b"')
THRESHOLDS = (0.5, 0.123456789012345678, 0.25)
# TensorRT and Core ML do not run here; ncnn's file has a place for a number only.
HERE = ("onnx", "openvino", "litert", "executorch")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(folder, manifest) of a target's artifact."""
    made = {}

    def use(target):
        if missing := load_target(target).missing():
            pytest.skip(f"{', '.join(missing)} not installed")
        if target not in made:
            folder = tmp_path_factory.mktemp(target)
            prepared = Preparation(size=phone.SIZE)
            texts = metadata(CLASSES, THRESHOLDS, prepared, ("image", "probabilities"))
            job = phone.make_job(phone.make_model(), target, folder, metadata=texts)
            made[target] = (
                folder,
                phone.export(job).model_copy(
                    update={"classes": CLASSES, "thresholds": THRESHOLDS, "preprocess": prepared}
                ),
            )
        return made[target]

    return use


@pytest.mark.parametrize("target", HERE)
def test_the_file_is_asked(target, exported):
    folder, manifest = exported(target)
    manifest.save(folder)
    with open_artifact(folder, threads=1) as session:
        assert session._backend.metadata() == session.spec.metadata
    for change, message in (
        ({"classes": CLASSES[::-1]}, r'entry 1 of classes is "a \\"b\\"" in the manifest and "rød" in the file'),
        ({"thresholds": (0.5, 0.5, 0.25)}, "entry 2 of thresholds is 0.5 in the manifest and 0.12345678901234568 in"),
        (
            {"preprocess": manifest.preprocess.model_copy(update={"fit": "crop"})},
            r'input\.fit is "crop" in the manifest and "stretch" in the file',
        ),
    ):
        manifest.model_copy(update=change).save(folder)
        with pytest.raises(UsageError, match=message) as caught:
            open_artifact(folder, threads=1)
        assert "the manifest is not that of the model file" in str(caught.value)
        assert "export the run again" in str(caught.value)


def test_ncnns_number_is_that_of_the_manifest(exported):
    folder, manifest = exported("ncnn")
    manifest.save(folder)
    with open_artifact(folder, threads=1) as session:
        assert list(session._backend.metadata()) == ["fingerprint"]
    for change in (
        {"classes": CLASSES[::-1]},
        {"thresholds": (0.5, 0.5, 0.25)},
        *({"preprocess": manifest.preprocess.model_copy(update={key: "crop"})} for key in ("fit", "order", "resize")),
    ):
        manifest.model_copy(update=change).save(folder)
        with pytest.raises(UsageError, match="not that of the model file: classes, thresholds, names or the input's"):
            open_artifact(folder, threads=1)
    # An earlier version wrote none.
    net = folder / "model.ncnn.param"
    net.write_text(re.sub(r" 19=\d+", "", net.read_text()))
    older = manifest.model_copy(update={"files": describe_files(folder, list(manifest.files))})
    for artifact in (older, older.model_copy(update={"classes": CLASSES[::-1]})):
        artifact.save(folder)
        open_artifact(folder, threads=1).close()


def test_a_fingerprint_is_of_what_can_differ():
    """A later version that says more of the input, in which nothing has changed, reads the same number."""
    texts = metadata(CLASSES, THRESHOLDS, Preparation(size=8), ("image", "probabilities"))
    more = {**texts, "input": json.dumps({**json.loads(texts["input"]), "since": "then"}), "decision": "in other words"}
    assert fingerprint(more) == fingerprint(texts) < 2**31
    whole = metadata(CLASSES, (1.0, 0.0, 0.25), Preparation(size=8), ("image", "probabilities"))
    assert fingerprint({**whole, "thresholds": "[1, 0, 0.25]"}) == fingerprint(whole) != fingerprint(texts)


def test_an_older_file_says_less(exported):
    """It was written before color profiles were mentioned."""
    folder, manifest = exported("onnx")
    manifest.save(folder)
    with open_artifact(folder, threads=1) as session:
        said = session._backend.metadata()
        older = {key: value for key, value in json.loads(said["input"]).items() if key != "color_profile"}
        check_metadata(folder, session.spec.metadata, {**said, "input": json.dumps(older)})
        with pytest.raises(UsageError, match=r"input\.color is"):
            check_metadata(folder, session.spec.metadata, {**said, "input": json.dumps({**older, "color": "BGR"})})


@pytest.mark.parametrize("target", HERE)
def test_ends_by_other_names_are_refused(target, exported):
    """ExecuTorch's programs have no names but those that they say of themselves."""
    folder, manifest = exported(target)
    for role in ("input", "output"):
        phone.changed(manifest, **{role: {"name": "photo"}}).save(folder)
        with pytest.raises(UsageError, match=rf"(says {role} \('photo'|names\.{role} is \"photo\" in the manifest)"):
            open_artifact(folder, threads=1)


def test_every_target_is_known_to_say_it_or_not():
    assert {*HERE, "ncnn", "tensorrt", "coreml"} == set(target_names())
    assert set(EMBEDDING) == {*HERE, "tensorrt", "coreml"}  # TensorRT's in the graph next to its engine


def test_forward_stays_the_first_method(exported):
    """Programs that run the first one, as executor_runner does, run the model."""
    folder, _ = exported("executorch")
    from executorch.exir._serialize._program import deserialize_pte_binary

    plans = deserialize_pte_binary((folder / "model.pte").read_bytes()).program.execution_plan
    assert plans[0].name == "forward"
    assert {plan.name for plan in plans[1:]} == {
        f"mlkdc_{key}" for key in ("classes", "thresholds", "decision", "input", "names", "output")
    }
