"""Fingerprints of sources: whether a file is still the one that was indexed."""

from __future__ import annotations

import hashlib

from maskstream.pipeline.archive.format.records import Fingerprint
from maskstream.pipeline.archive.plan.addresses import read_range
from maskstream.pipeline.archive.plan.listing import Listed

_END_BYTES = 64 * 1024


def fingerprint_of(listed: Listed) -> Fingerprint:
    """Take a file's fingerprint; reads its first and last 64 KiB.

    Raises:
        SourceError: the file cannot be read.
    """
    return Fingerprint(
        size_bytes=listed.size_bytes,
        modified_s=listed.modified_s,
        etag=listed.etag,
        digest=_digest(listed),
    )


def is_unchanged(listed: Listed, known: Fingerprint) -> bool:
    """Whether a file is the one with a known fingerprint.

    The file is read only where size and time do not decide.

    Args:
        listed: the file as it is now.
        known: its fingerprint when it was indexed.

    Raises:
        SourceError: the file cannot be read.
    """
    if listed.size_bytes != known.size_bytes:
        return False
    if listed.etag is not None and known.etag is not None:
        return listed.etag == known.etag
    if listed.modified_s is not None and listed.modified_s == known.modified_s:
        return True
    return known.digest is not None and _digest(listed) == known.digest


def _digest(listed: Listed) -> str:
    size = listed.size_bytes or 0
    digest = hashlib.sha256(read_range(listed.url, 0, min(size, _END_BYTES)))
    if size > _END_BYTES:
        digest.update(read_range(listed.url, max(_END_BYTES, size - _END_BYTES), size))
    return digest.hexdigest()
