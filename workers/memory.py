"""What glibc does with memory that is freed."""

from __future__ import annotations

import contextlib
import ctypes
import gc

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names of malloc.h
_MB = 2**20


def keep_freed_memory() -> None:
    """Keep what is freed for what comes next, in a process that does the same over and over.

    Given back to the system and asked for anew, the blocks of one detection cost 2,000 page faults
    and 4 ms a frame. Not for processes whose blocks live long and differ: what lies between them
    could not be given back.
    """
    with contextlib.suppress(OSError, AttributeError):  # another libc
        libc = ctypes.CDLL(None)
        libc.mallopt(_MMAP_THRESHOLD, 32 * _MB)
        libc.mallopt(_TRIM_THRESHOLD, 256 * _MB)


def give_back_memory() -> None:
    """Give freed memory back to the system, which glibc otherwise does only from the end."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another libc
        ctypes.CDLL(None).malloc_trim(0)
