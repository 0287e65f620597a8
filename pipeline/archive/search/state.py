"""What a reader holds of an index, and how it keeps up with it."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from maskstream.pipeline.archive.format.records import ConceptRecord
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.summary import tracks_of
from maskstream.pipeline.archive.format.tables import OBSERVATIONS, SHOTS, VIDEOS, TableName
from maskstream.pipeline.archive.search.contents import (
    NO_CATALOGUE,
    Catalogue,
    PartOfVideo,
    PassId,
    list_passes,
    read_catalogue,
    read_concepts,
    read_manifests,
    read_parts,
)
from maskstream.pipeline.archive.search.database import Database


class IndexState:
    """The index as it was when it was last looked at.

    One listing of the manifests says which passes there are. Those that the newest catalogue holds
    are read from it; of the others the small tables are loaded, once each.

    Args:
        include_partial: take chunks of unfinished passes, too.
    """

    def __init__(self, storage: Storage, include_partial: bool) -> None:
        self._storage = storage
        self._include_partial = include_partial
        self._catalogue: Catalogue = NO_CATALOGUE
        self._gone: set[PassId] = set()
        self._loaded: set[PassId] = set()
        self._parts: dict[PassId, PartOfVideo] = {}
        self.database = Database(storage)
        self.concepts: list[ConceptRecord] = []
        self.num_videos = 0
        self.num_videos_of_concepts: dict[str, int] = {}
        self._is_new = True

    def refresh(self) -> bool:
        """Look again; whether anything was different.

        Raises:
            ArchiveError: a file cannot be read; the state is as before.
        """
        passes = list_passes(self._storage)
        catalogue = read_catalogue(self._storage, self._catalogue)
        held = catalogue.held()
        gone, fresh = set(held) - passes, passes - set(held)
        parts = read_parts(self._storage, passes) if self._include_partial else {}
        new_parts = {one: part for one, part in parts.items() if self._parts.get(one) != part}
        old_parts = set(self._parts) - (set(parts) - set(new_parts))
        added = read_manifests(self._storage, fresh - self._loaded)
        dropped = (self._loaded - fresh) | old_parts
        is_same = catalogue is self._catalogue and gone == self._gone
        if is_same and not added and not dropped and not new_parts and not self._is_new:
            return False
        self.database.update(catalogue, gone, added, dropped)
        self._catalogue, self._gone = catalogue, gone
        self._loaded = (self._loaded - dropped) | set(added)
        self._parts = {one: part for one, part in self._parts.items() if one not in old_parts}
        for one, part in new_parts.items():
            self.database.add_part(one, self._tables_of(one, part), part.observations)
            self._parts[one] = part
        self.concepts = read_concepts(self._storage)
        self._count_videos()
        self._is_new = False
        return True

    def close(self) -> None:
        """Release files and memory. Closing twice is fine."""
        self.database.close()

    def _count_videos(self) -> None:
        self.num_videos_of_concepts = dict(
            self.database.rows("SELECT concept, count(*) FROM looked_for GROUP BY concept")
        )
        ((self.num_videos,),) = self.database.rows(
            "SELECT count(DISTINCT video_id) FROM video_passes"
        )

    def _tables_of(self, one: PassId, part: PartOfVideo) -> dict[TableName, pa.Table]:
        """The rows of a pass that is not whole, out of its observations."""
        video_id, pass_key = one
        chunk = part.chunks[-1]
        tables = [
            pq.read_table(io.BytesIO(self._storage.read(path) or b""), schema=OBSERVATIONS)
            for path in part.observations
        ]
        observations = pa.concat_tables([OBSERVATIONS.empty_table(), *tables])
        width, height = chunk.width or 1, chunk.height or 1
        row = {
            "video_id": video_id,
            "source": chunk.source,
            "name": chunk.source.rpartition("/")[2],
            "recorded_at": chunk.recorded_at,
            "num_frames": sum(one.num_frames for one in part.chunks),
            "width": chunk.width,
            "height": chunk.height,
            "concepts": chunk.concepts,
            "pass_key": pass_key,
        }
        return {
            "videos": pa.Table.from_pylist([row], schema=VIDEOS),
            "shots": SHOTS.empty_table(),
            "tracks": tracks_of(
                observations,
                video_id=video_id,
                width=width,
                height=height,
                recorded_at=chunk.recorded_at,
            ),
        }
