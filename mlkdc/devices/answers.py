"""Answers that a device sends as a .npy file: read as what they have to be, or refused."""

import io
from tokenize import TokenError

import numpy as np
from numpy.lib import format as npy

from mlkdc.errors import MlkdcError

DTYPE = np.dtype("<f4")


def read_answers(content: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Probabilities ``float32`` of that shape.

    Not with ``np.load``, which also opens archives, and makes room for any shape that a header claims.

    Raises:
        MlkdcError: it is something else.
    """
    stream = io.BytesIO(content)
    try:
        if npy.read_magic(stream) != (1, 0):
            raise ValueError("of another version than np.save writes of numbers")
        found, by_columns, dtype = npy.read_array_header_1_0(stream)
    # All that NumPy's parser is known to raise for a header that is none.
    except (ValueError, TypeError, IndexError, SyntaxError, TokenError, RecursionError, MemoryError):
        raise MlkdcError(f"its answers are no array: {content[:40]!r}") from None
    if (found, by_columns, dtype) != (shape, False, DTYPE):
        raise MlkdcError(f"it answered with {str(dtype)[:80]} of shape {str(found)[:80]}, expected float32 of {shape}")
    values = content[stream.tell() :]
    if len(values) != shape[0] * shape[1] * DTYPE.itemsize:
        raise MlkdcError(f"it answered with {len(values)} bytes where float32 of {shape} has another number")
    return np.frombuffer(values, DTYPE).reshape(shape).astype(np.float32)
