"""Keep freed memory in the process while a network trains, or answers many images, on a CPU."""

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4


def keep_memory() -> bool:
    """Make glibc keep freed activations instead of returning them to the system after each pass; True if it did.

    Without this about half of a CPU training step of a small convolutional net is page faults. Blocks are never
    mapped one by one (``M_MMAP_MAX`` 0) because glibc refuses a mapping threshold above 32 MiB, and activations
    can be larger.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**30), (_M_TOP_PAD, 2**28)):
        accepted = mallopt(option, value)
        if not accepted:
            return False
    return True
