"""The CUDA driver, as far as running an engine needs it: one GPU, one stream, memory.

The driver's library comes with the GPU's driver and needs no package: what a TensorRT engine is run with, on a
device, is TensorRT, NumPy and this file. The functions' names and types are those of ``cuda.h``.
"""

import ctypes
import sys
from typing import Any

import numpy as np

from mlkdc.errors import MlkdcError

LIBRARY = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_INT, _HANDLE, _ADDRESS, _SIZE = ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t
_SIGNATURES: dict[str, list[Any]] = {
    "cuInit": [ctypes.c_uint],
    "cuDeviceGetCount": [ctypes.POINTER(_INT)],
    "cuDeviceGet": [ctypes.POINTER(_INT), _INT],
    "cuDeviceGetName": [ctypes.c_char_p, _INT, _INT],
    "cuDeviceGetAttribute": [ctypes.POINTER(_INT), _INT, _INT],
    "cuDevicePrimaryCtxRetain": [ctypes.POINTER(_HANDLE), _INT],
    "cuDevicePrimaryCtxRelease_v2": [_INT],
    "cuCtxSetCurrent": [_HANDLE],
    "cuStreamCreate": [ctypes.POINTER(_HANDLE), ctypes.c_uint],
    "cuStreamSynchronize": [_HANDLE],
    "cuStreamDestroy_v2": [_HANDLE],
    "cuMemAlloc_v2": [ctypes.POINTER(_ADDRESS), _SIZE],
    "cuMemFree_v2": [_ADDRESS],
    "cuMemcpyHtoDAsync_v2": [_ADDRESS, _HANDLE, _SIZE, _HANDLE],
    "cuMemcpyDtoHAsync_v2": [_HANDLE, _ADDRESS, _SIZE, _HANDLE],
    "cuGetErrorName": [_INT, ctypes.POINTER(ctypes.c_char_p)],
}


class _Driver:
    """The library, with its error code checked after each call."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(LIBRARY)
        for name, types in _SIGNATURES.items():
            function = getattr(self._library, name)
            function.argtypes, function.restype = types, _INT

    def __call__(self, name: str, *arguments: Any) -> None:
        if code := getattr(self._library, name)(*arguments):
            text = ctypes.c_char_p()
            self._library.cuGetErrorName(code, ctypes.byref(text))
            error = f"error {code}"
            if text.value:
                error = text.value.decode()
            raise MlkdcError(f"CUDA failed: {name} says {error}")

    def number(self, name: str, *arguments: Any) -> int:
        """The integer that a call gives through its first argument."""
        value = _INT()
        self(name, ctypes.byref(value), *arguments)
        return value.value


def available() -> bool:
    """Whether this machine has a CUDA driver and a GPU that it can use."""
    try:
        driver = _Driver()
        driver("cuInit", 0)
        return driver.number("cuDeviceGetCount") > 0
    except (OSError, AttributeError, MlkdcError):  # no library, one too old, no GPU or one that does not answer
        return False


def gpu() -> tuple[str, tuple[int, int]]:
    """The first GPU's name, and its compute capability: (8, 9) is 8.9.

    Raises:
        MlkdcError: the driver does not answer; ask :func:`available` first.
    """
    driver = _Driver()
    driver("cuInit", 0)
    device = driver.number("cuDeviceGet", 0)
    name = ctypes.create_string_buffer(256)
    driver("cuDeviceGetName", name, len(name), device)
    major = driver.number("cuDeviceGetAttribute", _MAJOR, device)
    minor = driver.number("cuDeviceGetAttribute", _MINOR, device)
    return name.value.decode(), (major, minor)


class Gpu:
    """The first GPU's primary context, which TensorRT uses too, with a stream and memory in it.

    Raises:
        MlkdcError: by every method: the driver's error by name (``CUDA_ERROR_OUT_OF_MEMORY``).
    """

    def __init__(self) -> None:
        self._driver = _Driver()
        self._driver("cuInit", 0)
        self._device = self._driver.number("cuDeviceGet", 0)
        self._context, self._stream = _HANDLE(), _HANDLE()
        self._memory: list[int] = []
        self._driver("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)
        self.use()
        self._driver("cuStreamCreate", ctypes.byref(self._stream), 1)  # 1: does not wait for the default stream

    @property
    def stream(self) -> int:
        """The handle, as a number."""
        return self._stream.value or 0

    def use(self) -> None:
        """Let the calling thread use this GPU: a context belongs to a thread."""
        self._driver("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """The address of so many new bytes; they are freed by :meth:`close`."""
        address = _ADDRESS()
        self._driver("cuMemAlloc_v2", ctypes.byref(address), size)
        self._memory.append(address.value)
        return address.value

    def upload(self, array: np.ndarray, address: int) -> None:
        """Copy a contiguous array to the GPU, once what is in the stream before has been done."""
        self._driver("cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, self._stream)

    def download(self, address: int, array: np.ndarray) -> None:
        """Fill a contiguous array from the GPU; it is there after :meth:`wait`."""
        self._driver("cuMemcpyDtoHAsync_v2", array.ctypes.data, address, array.nbytes, self._stream)

    def wait(self) -> None:
        """Until all that is in the stream has been done."""
        self._driver("cuStreamSynchronize", self._stream)

    def close(self) -> None:
        """Free stream and memory, and leave the context to whoever else uses it."""
        self.use()
        while self._memory:
            self._driver("cuMemFree_v2", self._memory.pop())
        self._driver("cuStreamDestroy_v2", self._stream)
        self._driver("cuDevicePrimaryCtxRelease_v2", self._device)
