"""Answers in a file that anyone could have sent."""

import io

import numpy as np
import pytest

from mlkdc.devices.answers import read_answers
from mlkdc.errors import MlkdcError


def saved(array, save=np.save) -> bytes:
    content = io.BytesIO()
    save(content, array)
    return content.getvalue()


def headed(text: str) -> bytes:
    header = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


GOOD = np.random.default_rng(0).random((4, 3), np.float32)
HUGE = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000, 3), }"


def test_what_numpy_saved_is_read() -> None:
    found = read_answers(saved(GOOD), (4, 3))
    np.testing.assert_array_equal(found, GOOD)
    assert found.flags.writeable
    assert read_answers(saved(GOOD[:0]), (0, 3)).shape == (0, 3)


OTHERS = {
    "an archive": saved(GOOD, np.savez),
    "the start of an archive": b"PK\x03\x04junk",
    "nothing": b"",
    "a cut header": saved(GOOD)[:20],
    "a string without an end": headed("{'descr': '''"),
    "brackets": headed("(" * 110),
    "no dtype": headed("{'descr': (), 'fortran_order': False, 'shape': (4, 3), }"),
    "another version": b"\x93NUMPY\x02\x00" + saved(GOOD)[8:],
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=OTHERS.keys())
def test_what_is_no_array(content: bytes) -> None:
    with pytest.raises(MlkdcError, match="its answers are no array"):
        read_answers(content, (4, 3))


ARRAYS = {
    "strings": (saved(np.full((4, 3), "a")), r"with <U1 of shape \(4, 3\), expected float32"),
    "records": (saved(np.zeros((4, 3), [("a", "f4")])), "expected float32"),
    "truths": (saved(np.zeros((4, 3), bool)), "with bool of shape"),
    "complex numbers": (saved(np.zeros((4, 3), complex)), "with complex128 of shape"),
    "columns": (saved(np.asfortranarray(GOOD)), "expected float32"),
    "another shape": (saved(GOOD[:3]), r"of shape \(3, 3\), expected float32 of \(4, 3\)"),
    "a huge shape": (headed(HUGE), r"of shape \(1000000000000000, 3\)"),
    "too little": (saved(GOOD)[:-1], "it answered with 47 bytes"),
    "too much": (saved(GOOD) + b"x", "it answered with 49 bytes"),
}


@pytest.mark.parametrize(("content", "says"), ARRAYS.values(), ids=ARRAYS.keys())
def test_what_is_another_array(content: bytes, says: str) -> None:
    with pytest.raises(MlkdcError, match=says):
        read_answers(content, (4, 3))
