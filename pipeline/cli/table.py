"""Tables and lines on standard output, which may be a pipe whose reader goes away."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.cells import cell_len


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns. Nothing is cut off, however narrow the terminal is."""
    widths = [max(map(cell_len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        cells = [
            cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)
        ]
        print("  ".join(cells).rstrip())


@contextmanager
def tolerating_closed_output() -> Iterator[None]:
    """End quietly when the reader of standard output, such as ``head``, has gone."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Otherwise Python prints an error when it flushes the output at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
