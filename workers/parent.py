"""The kernel ends this process together with its parent."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Have this process killed when the one that started it ends; on Linux, else nothing.

    Ray's workers notice that their node has ended, and end by themselves. One of some hundreds was
    seen to hang there for ever, with the model in its memory.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
