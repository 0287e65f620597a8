"""Whether glibc keeps freed memory or returns it to the operating system."""

from __future__ import annotations

import contextlib
import ctypes
import gc

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of malloc.h
_MB = 2**20


def keep_freed_memory() -> None:
    """Keep freed memory in this process for its next allocations.

    For processes that repeat the same work. If the blocks of a detection were returned and
    requested again, each frame would cost 2,000 page faults and 4 ms. Not for processes that hold
    blocks of many sizes for long: the gaps between them could not be returned.
    """
    with contextlib.suppress(OSError, AttributeError):  # another libc
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 32 * _MB)
        libc.mallopt(_TRIM_THRESHOLD, 256 * _MB)


def give_back_memory() -> None:
    """Return all freed memory to the system; glibc by itself returns only the end of the heap."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)
