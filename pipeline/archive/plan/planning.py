"""Compares the files of an archive with what an index holds, and makes jobs of the difference."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from maskstream.core.errors import SourceError
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.reading import read_record, read_records
from maskstream.pipeline.archive.format.records import (
    FailureRecord,
    Fingerprint,
    IndexSettings,
    VideoManifest,
    pass_key,
    video_id_of,
)
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.plan.failures import write_failure
from maskstream.pipeline.archive.plan.fingerprints import fingerprint_of, is_unchanged
from maskstream.pipeline.archive.plan.jobs import Job, seams_of
from maskstream.pipeline.archive.plan.listing import Listed
from maskstream.pipeline.archive.plan.probing import probe

_BATCH = 256
_PROBES_AT_ONCE = 8


@dataclass(slots=True)
class PlanCounts:
    """How the files of an archive compare with the index.

    Attributes:
        listed: files of the archive.
        indexed: that the index holds already, as they are.
        to_do: for which jobs were made.
        changed: of these, files that were indexed and have changed since.
        failed_before: that have failed before, and are not tried again.
        failed: that cannot be opened.
    """

    listed: int = 0
    indexed: int = 0
    to_do: int = 0
    changed: int = 0
    failed_before: int = 0
    failed: int = 0


class Planner:
    """Plans what is to be done.

    Promises: reads the records of the index, and of a video only what is needed to open it; of one
    that is indexed nothing, unless its date has changed. Memory does not grow with the archive, but
    for the names of the records.

    Args:
        storage: of the index.
        settings: of the index.
        concepts: all that every video is to be searched for.
        retry_failures: try again what has failed before.
    """

    def __init__(
        self,
        storage: Storage,
        settings: IndexSettings,
        concepts: Sequence[str],
        *,
        retry_failures: bool = False,
    ) -> None:
        self._storage = storage
        self._settings = settings
        self._concepts = sorted(concepts)
        self._retry = retry_failures
        self._passes = _passes_by_video(storage, layout.MANIFESTS)
        self._failures = _passes_by_video(storage, layout.FAILURES)
        self.counts = PlanCounts()

    def plan(self, files: Iterable[Listed]) -> Iterator[Job]:
        """The jobs that the files of an archive need, in their order.

        What cannot be opened is recorded as a failure.

        Raises:
            ArchiveError: the index cannot be read or written.
        """
        with ThreadPoolExecutor(_PROBES_AT_ONCE) as pool:
            for batch in _batches(files):
                self.counts.listed += len(batch)
                manifests = self._read_manifests(batch)
                wanted = [
                    (one, known)
                    for one in batch
                    if not self._is_done(one, known := manifests.get(video_id_of(one.source), []))
                ]
                for jobs in pool.map(self._jobs, *zip(*wanted, strict=True)) if wanted else ():
                    self.counts.to_do += bool(jobs)
                    yield from jobs

    def _read_manifests(self, batch: Sequence[Listed]) -> dict[str, list[VideoManifest]]:
        paths = [
            layout.manifest(video_id, key)
            for video_id in (video_id_of(one.source) for one in batch)
            for key in self._passes.get(video_id, ())
        ]
        found: dict[str, list[VideoManifest]] = defaultdict(list)
        for manifest in read_records(self._storage, paths, VideoManifest).values():
            found[manifest.video_id].append(manifest)
        return found

    def _is_done(self, listed: Listed, known: Sequence[VideoManifest]) -> bool:
        if not known or listed.is_missing:
            return False
        found = {concept for one in known for concept in one.concepts}
        try:
            is_same = all(is_unchanged(listed, one.fingerprint) for one in known)
        except SourceError:
            return False
        if is_same and found.issuperset(self._concepts):
            self.counts.indexed += 1
            return True
        return False

    def _jobs(self, listed: Listed, known: Sequence[VideoManifest]) -> list[Job]:
        """The jobs for a file; none if there is nothing to do, or nothing that can be done."""
        video_id = video_id_of(listed.source)
        try:
            if listed.is_missing:
                raise SourceError(f"{listed.source} does not exist")
            fingerprint = fingerprint_of(listed)
        except SourceError as error:
            fingerprint = Fingerprint(size_bytes=listed.size_bytes)
            self._cannot_open(self._new_job(listed, video_id, fingerprint, []), error)
            return []
        same = [one for one in known if is_unchanged(listed, one.fingerprint)]
        job = self._new_job(listed, video_id, fingerprint, same)
        job = job.model_copy(
            update={"replaces": [one.pass_key for one in known if one not in same]}
        )
        if self._has_failed_before(job):
            return []
        try:
            probed = probe(listed.url, listed.size_bytes)
        except SourceError as error:
            self._cannot_open(job, error)
            return []
        self.counts.changed += bool(job.replaces)
        job = job.model_copy(
            update={
                "recorded_at": listed.recorded_at or probed.recorded_at,
                "duration_s": probed.duration_s,
                "fps": probed.fps,
                "container": probed.container,
                "codec": probed.codec,
            }
        )
        longest_s = self._settings.split_longer_than_s
        if longest_s is not None:
            seams = seams_of(probed.start_s, probed.duration_s, longest_s)
            update = {"seams": seams, "overlap_s": self._settings.overlap_s}
            job = job.model_copy(update=update)
        return job.parts()

    def _new_job(
        self,
        listed: Listed,
        video_id: str,
        fingerprint: Fingerprint,
        same: Sequence[VideoManifest],
    ) -> Job:
        found = {concept for one in same for concept in one.concepts}
        concepts = [concept for concept in self._concepts if concept not in found]
        return Job(
            video_id=video_id,
            pass_key=pass_key(self._settings, concepts, fingerprint),
            url=listed.url,
            source=listed.source,
            fingerprint=fingerprint,
            concepts=concepts,
            first_object_id=max((one.last_object_id + 1 for one in same), default=0),
            is_first=not same,
        )

    def _has_failed_before(self, job: Job) -> bool:
        """Whether a failure of the same pass is recorded. Others are out of date: they go."""
        has_failed = False
        for key in self._failures.pop(job.video_id, ()):
            path = layout.failure(job.video_id, key)
            if (
                key == job.pass_key
                and not self._retry
                and read_record(self._storage, path, FailureRecord) is not None
            ):
                has_failed = True
            else:
                self._storage.delete(path)
        self.counts.failed_before += has_failed
        return has_failed

    def _cannot_open(self, job: Job, error: SourceError) -> None:
        if not self._has_failed_before(job):
            self.counts.failed += 1
            write_failure(self._storage, job, "open", str(error))


def _batches(files: Iterable[Listed]) -> Iterator[list[Listed]]:
    rest = iter(files)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _passes_by_video(storage: Storage, folder: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in storage.names(folder):
        keys = layout.pass_of(name)
        if keys is not None:
            found[keys[0]].append(keys[1])
    return found
