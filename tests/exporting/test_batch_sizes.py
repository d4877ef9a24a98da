"""By how much the answers of a batch may differ from those to single images, and which batches are asked for."""

import numpy as np
import pytest
from samples import make_manifest

from mlkdc.exporting import batches
from mlkdc.records.parity import Parity


@pytest.fixture
def checked(monkeypatch, tmp_path):
    """What becomes of a comparison where answers to batches of several images are off by a difference."""
    (tmp_path / "model.file").write_text("")

    def check(difference, precision="fp32", parity=None):
        asked = []

        def answers_of(folder, pixels, *, batch):
            asked.append((len(pixels), batch))
            return np.full((len(pixels), 3), 0.5 + (difference if batch > 1 else 0), dtype=np.float32)

        monkeypatch.setattr(batches, "answers_of", answers_of)
        manifest = make_manifest(tmp_path, ["model.file"], target="litert", precision=precision, dynamic_batch=True)
        pixels = np.zeros((40, 3, 8, 8), dtype=np.uint8)
        return batches.check_batches(parity or Parity(passed=True), tmp_path, manifest, pixels, tmp_path), asked

    return check


@pytest.mark.parametrize(
    ("precision", "difference", "passed"),
    [
        ("fp32", 5e-5, True),
        ("fp32", 2e-4, False),
        ("fp16", 0.009, True),
        ("fp16", 0.011, False),
        ("int8", 0.04, True),
        ("int8", 0.06, False),
        ("int8", float("nan"), False),
    ],
)
def test_a_precision_may_differ_by_what_it_rounds(precision, difference, passed, checked):
    assert checked(difference, precision)[0].passed is passed


def test_sound_batches_do_not_excuse_what_failed_before(checked):
    parity, _ = checked(0.0, parity=Parity(passed=False, reason="labels flipped"))
    assert (parity.passed, parity.reason) == (False, "labels flipped")
    parity, _ = checked(1.0, parity=Parity(passed=False, reason="labels flipped"))
    assert parity.reason.startswith("labels flipped; in batches of 3 ")


def test_some_batch_of_each_size_is_full_and_the_last_is_not(checked):
    _, asked = checked(0.0)
    for images, batch in asked:
        assert batch == 1 or (images > batch and images % batch)
    assert [batch for _, batch in asked] == [1, 3, 8, 32]
