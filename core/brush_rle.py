"""Masks as the run-length code of Label Studio's brush.

The code is made of bits. It is about bytes, row by row, four for each pixel (red, green, blue,
alpha). It begins with the number of bytes and the widths that lengths are written with. Then come
the runs, each with its length and its byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BYTES_A_PIXEL = 4
_BYTE_BITS = 8
_LENGTH_BITS = (3, 4, 8, 16)
_INSIDE = 255


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """Encode a mask.

    Args:
        mask: (H, W) bool, true inside.

    Returns:
        The code, a byte each: what Label Studio has under ``rle``.
    """
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0], edges])
    lengths = np.diff([*starts.tolist(), flat.size]) * _BYTES_A_PIXEL
    bits = [f"{flat.size * _BYTES_A_PIXEL:032b}", f"{_BYTE_BITS - 1:05b}"]
    bits += [f"{width - 1:04b}" for width in _LENGTH_BITS]
    for inside, length in zip(flat[starts].tolist(), lengths.tolist(), strict=True):
        bits += _run(length, _INSIDE if inside else 0)
    code = "".join(bits)
    packed = np.packbits(np.frombuffer(code.encode("ascii"), np.uint8) - ord("0"))
    values: list[int] = packed.tolist()
    return values


def _run(length: int, byte: int) -> list[str]:
    """The bits of ``length`` equal bytes, in parts where they are more than fit."""
    bits = []
    most = 1 << _LENGTH_BITS[-1]
    while length > 0:
        part = min(length, most)
        which = next(number for number, width in enumerate(_LENGTH_BITS) if part <= 1 << width)
        bits.append(f"1{which:02b}{part - 1:0{_LENGTH_BITS[which]}b}{byte:0{_BYTE_BITS}b}")
        length -= part
    return bits
