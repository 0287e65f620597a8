"""What an index holds, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field

from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.reading import read_records
from maskstream.pipeline.archive.format.records import FailureRecord
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.indexing.head import open_head, read_concepts
from maskstream.pipeline.archive.indexing.lock import holder_of
from maskstream.pipeline.archive.plan.indexed import iterate_manifests


@dataclass(slots=True)
class IndexStatus:
    """What an index holds.

    Attributes:
        checkpoint: what the index was made with.
        concepts: what it is built for.
        num_videos: videos that readers see.
        num_passes: passes over them.
        num_frames: frames that these have looked at.
        num_files: files of these passes.
        num_bytes: of these files.
        num_unfinished: videos that were begun.
        incomplete: videos that lack a concept, by concept.
        failures: what could not be indexed.
        builder: who builds on it now; None: nobody.
    """

    checkpoint: str
    concepts: list[str]
    num_videos: int = 0
    num_passes: int = 0
    num_frames: int = 0
    num_files: int = 0
    num_bytes: int = 0
    num_unfinished: int = 0
    incomplete: dict[str, int] = field(default_factory=dict)
    failures: list[FailureRecord] = field(default_factory=list)
    builder: str | None = None


def status_of(storage: Storage) -> IndexStatus:
    """Sum an index up; reads records only.

    Raises:
        ArchiveError: there is no index, or it cannot be read.
    """
    head = open_head(storage)
    status = IndexStatus(head.checkpoint_name, read_concepts(storage), builder=holder_of(storage))
    looked_for: dict[str, set[str]] = {}
    for manifest in iterate_manifests(storage):
        status.num_passes += 1
        status.num_frames += manifest.num_frames
        status.num_files += len(manifest.files)
        status.num_bytes += sum(entry.size_bytes for entry in manifest.files)
        looked_for.setdefault(manifest.video_id, set()).update(manifest.concepts)
    status.num_videos = len(looked_for)
    for concept in status.concepts:
        lacking = sum(concept not in found for found in looked_for.values())
        if lacking:
            status.incomplete[concept] = lacking
    names = storage.names(layout.FAILURES)
    paths = [f"{layout.FAILURES}/{name}" for name in names if layout.pass_of(name) is not None]
    status.failures = sorted(
        read_records(storage, paths, FailureRecord).values(), key=lambda one: one.source
    )
    failed = {one.video_id for one in status.failures}
    begun = set(storage.names(layout.VIDEOS)) - looked_for.keys() - failed
    status.num_unfinished = len(begun)
    return status
