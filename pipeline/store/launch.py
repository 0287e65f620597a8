"""Runs a program that the kernel ends together with its parent; see ``embedded``.

``python -I -S launch.py PARENT_PID PROGRAM ARGUMENT…``: imports nothing of the project.
"""

import os
import sys

PR_SET_PDEATHSIG = 1
SIGKILL = 9


def main() -> None:
    """Ask for the signal, make sure that the parent still lives, and become the program."""
    parent = int(sys.argv[1])
    if sys.platform == "linux":
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
        if os.getppid() != parent:
            sys.exit("the parent has died")
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
