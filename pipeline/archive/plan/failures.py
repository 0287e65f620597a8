"""Records of the sources that could not be indexed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from maskstream.core.redaction import redact
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.records import FailureRecord
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.plan.jobs import Job


def write_failure(
    storage: Storage,
    job: Job,
    stage: Literal["open", "decode", "index", "died"],
    reason: str,
    attempts: int = 1,
) -> None:
    """Record that a source could not be indexed.

    Args:
        storage: of the index.
        job: what was tried.
        stage: what was being done with it.
        reason: why, in words.
        attempts: how often it was tried.

    Raises:
        ArchiveError: the record cannot be written.
    """
    record = FailureRecord(
        video_id=job.video_id,
        pass_key=job.pass_key,
        source=job.source,
        stage=stage,
        reason=redact(reason),
        attempts=attempts,
        at=datetime.now(UTC).isoformat(),
    )
    storage.write(layout.failure(job.video_id, job.pass_key), record.to_bytes())
