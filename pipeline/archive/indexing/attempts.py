"""Notes that a chunk was begun. A note that is still there tells of a worker's death.

A note is written before a chunk is begun and deleted after its record is written. So when a worker,
a machine or everything has died, the notes say what was in hand. Each of these jobs is then tried
alone for a chunk: with nothing else in hand anywhere. What dies while it is alone is to blame, and
so only notes of such tries count against a video.
"""

from __future__ import annotations

import json
import os
import re
import socket
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.plan.jobs import Job, JobKey

_FOLDER = re.compile(r"([0-9a-f]+)-([0-9a-f]+)-p(\d+)")
_NOTE = re.compile(r"[0-9a-f]+-(alone|shared)\.json")


@dataclass(frozen=True, slots=True)
class OpenNotes:
    """What the notes about a job say: how often its next chunk was begun, and not ended.

    Attributes:
        num_alone: while nothing else was in hand.
        num_shared: while other jobs were in hand, too.
    """

    num_alone: int = 0
    num_shared: int = 0

    def __bool__(self) -> bool:
        return self.num_alone + self.num_shared > 0


class Attempts:
    """The notes of an index."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def begin(self, job: Job, *, alone: bool) -> None:
        """Note that the next chunk of a job is begun.

        Args:
            alone: nothing else is in hand, here or elsewhere.
        """
        name = f"{uuid.uuid4().hex}-{'alone' if alone else 'shared'}.json"
        told = {
            "at": datetime.now(UTC).isoformat(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        self._storage.write(f"{_folder(job)}/{name}", json.dumps(told).encode())

    def end(self, job: Job) -> None:
        """Forget all notes about a job: its chunk is done, or nothing is tried any more."""
        self._storage.delete_folder(_folder(job))

    def open_notes(self, job: Job) -> OpenNotes:
        """What the notes about a job say."""
        found = [
            match[1]
            for info in self._storage.files(_folder(job))
            if (match := _NOTE.fullmatch(info.name))
        ]
        return OpenNotes(found.count("alone"), found.count("shared"))

    def noted(self) -> set[JobKey]:
        """The keys of all jobs about which there are notes."""
        folders = map(_FOLDER.fullmatch, self._storage.folders(layout.ATTEMPTS))
        return {(match[1], match[2], int(match[3])) for match in folders if match}


def _folder(job: Job) -> str:
    return f"{layout.ATTEMPTS}/{job.video_id}-{job.pass_key}-p{job.part}"
