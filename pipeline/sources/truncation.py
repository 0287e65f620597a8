"""Finds out whether a media file is shorter than its container declares.

A decoder stops at the end of a cut file as if the file were complete. Only the size fields of the
container show the difference: ISO base media boxes (ISO/IEC 14496-12, 4.2), RIFF chunks, and the
EBML segment (RFC 8794, 4.4; RFC 9559).
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

_EBML_MAGIC = b"\x1a\x45\xdf\xa3"
_MATROSKA_SEGMENT = b"\x18\x53\x80\x67"
_ISO_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"pnot"}


def num_missing_bytes(path: Path) -> int:
    """Bytes that the container declares beyond the end of the file; 0 if none or unknown."""
    file_size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        file.seek(0)
        if head[:4] == _EBML_MAGIC:
            declared = _matroska_end(file)
        elif head[:4] == b"RIFF":
            declared = _riff_end(head)
        elif head[4:8] in _ISO_FIRST_BOXES:
            declared = _iso_media_end(file, file_size)
        else:
            declared = 0
    return max(0, declared - file_size)


def _iso_media_end(file: BinaryIO, file_size: int) -> int:
    position = 0
    while position + 8 <= file_size:
        file.seek(position)
        header = file.read(16)
        box_size = int.from_bytes(header[:4], "big")
        if box_size == 1 and len(header) == 16:
            box_size = int.from_bytes(header[8:16], "big")
        if box_size < 8:  # 0 means "to the end of the file"; other small sizes are not a box
            return file_size
        position += box_size
    return position


def _riff_end(head: bytes) -> int:
    size = int.from_bytes(head[4:8], "little")
    # Streaming recorders leave the field empty or full of ones.
    return 0 if size in (0, 0xFFFFFFFF) else size + 8


def _matroska_end(file: BinaryIO) -> int:
    file.seek(4)
    header_size = _read_ebml_size(file)
    if header_size is None:
        return 0
    file.seek(header_size, 1)
    if file.read(4) != _MATROSKA_SEGMENT:
        return 0
    segment_size = _read_ebml_size(file)
    return 0 if segment_size is None else file.tell() + segment_size


def _read_ebml_size(file: BinaryIO) -> int | None:
    """Read a variable-length size; None if it is unknown (all ones) or unreadable."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    length = 9 - first[0].bit_length()
    rest = file.read(length - 1)
    if len(rest) < length - 1:
        return None
    value = int.from_bytes(bytes([first[0] & ((1 << (8 - length)) - 1)]) + rest, "big")
    return None if value == (1 << (7 * length)) - 1 else value
