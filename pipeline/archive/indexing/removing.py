"""Removes videos from an index."""

from __future__ import annotations

import os
from collections.abc import Sequence

from maskstream.core.errors import InputError
from maskstream.core.redaction import redact_url
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.records import video_id_of
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.lock import BuildLock
from maskstream.pipeline.archive.plan.addresses import is_local


def remove_videos(storage: Storage, names: Sequence[str], *, wait_s: float = 0.0) -> int:
    """Remove videos: their manifests first, so that no reader sees a part of one.

    Args:
        storage: of the index.
        names: addresses of the files, or ids of the videos.
        wait_s: how long to wait for a build on the index, in seconds.

    Returns:
        How many were removed.

    Raises:
        InputError: the index knows nothing of one of them; nothing was removed.
        IndexBusyError: another process builds on the index.
        ArchiveError: the index cannot be read or written.
    """
    with BuildLock(storage, wait_s=wait_s):
        known = _known_files(storage)
        wanted = [_id_of(name, known) for name in names]
        for video_id in dict.fromkeys(wanted):
            for path in known[video_id]:
                storage.delete(path)
            storage.delete_folder(layout.video_folder(video_id))
    return len(set(wanted))


def _id_of(name: str, known: dict[str, list[str]]) -> str:
    address = os.path.abspath(name) if is_local(name) else redact_url(name)
    for video_id in (name, video_id_of(address)):
        if video_id in known:
            return video_id
    raise InputError(f"the index holds nothing of {redact_url(name)}")


def _known_files(storage: Storage) -> dict[str, list[str]]:
    """Of each video: its manifests and failures, all that lies outside of its folder."""
    known: dict[str, list[str]] = {name: [] for name in storage.names(layout.VIDEOS)}
    for folder in (layout.MANIFESTS, layout.FAILURES):
        for name in storage.names(folder):
            keys = layout.pass_of(name)
            if keys is not None:
                known.setdefault(keys[0], []).append(f"{folder}/{name}")
    return known
