"""Columns of true and false, yes and no: which word means what."""

from pathlib import Path

import pytest
from make_layouts import many_rows

from mlkdc.data import open_data


@pytest.mark.parametrize(
    ("column", "yes", "no"),
    [("is_valid", "val", "train"), ("is_test", "test", "train"), ("is_train", "train", "test")],
)
def test_a_column_of_true_and_false_says_the_split(column: str, yes: str, no: str, tmp_path: Path):
    cells = ["cat,True", "dog,False", "cat,False"]
    data = open_data(str(many_rows(tmp_path, f"image,labels,{column}", cells)))
    for sample in data.samples:
        assert sample.split == (yes if int(sample.image.stem) % 3 == 0 else no)


@pytest.mark.parametrize(("yes", "no"), [("yes", "no"), ("y", "n"), ("t", "f"), ("x", "")])
def test_the_word_of_a_pair_that_says_yes_is_the_label(yes: str, no: str, tmp_path: Path):
    cells = [f"{yes},{no}", f"{no},{yes}", f"{yes},{yes}"]
    data = open_data(str(many_rows(tmp_path, "image,cat,dog", cells)))
    in_order = sorted(data.samples, key=lambda sample: int(sample.image.stem))
    assert [sample.labels for sample in in_order] == [(0,), (1,), (0, 1)] * 8
