"""An index, opened for searching."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from maskstream.core.closing import Closing
from maskstream.core.errors import InputError
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.search.contents import read_head
from maskstream.pipeline.archive.search.database import StaleError
from maskstream.pipeline.archive.search.hits import (
    OBSERVATION_COLUMNS,
    Hit,
    Observation,
    Page,
    from_cursor,
    to_cursor,
)
from maskstream.pipeline.archive.search.parameters import Parameters
from maskstream.pipeline.archive.search.pictures import SeenFrame, mask_of, open_video, read_frames
from maskstream.pipeline.archive.search.query import MAX_LIMIT, Companion, Query
from maskstream.pipeline.archive.search.state import IndexState
from maskstream.pipeline.archive.search.statement import (
    TRACK_COLUMNS,
    Position,
    Resolved,
    Similarities,
    count_statement,
    page_statement,
    videos_statement,
)
from maskstream.pipeline.archive.search.vocabulary import Concept, Embed, Vocabulary

DEFAULT_LIMIT = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T = TypeVar("T")


class Index(Closing):
    """Searches what was indexed.

    Promises: answers are about whole videos, as they were at the last ``refresh`` or at the start.
    A build, a removal or a compaction at the same time does no harm. Threads may share it.

    Args:
        url: the folder of the index, or an address that fsspec opens.
        include_partial: show whole chunks of unfinished videos, too. Their masklets may still grow.
        embed: makes the embedding of a word that is new to the index, with the index's checkpoint.
            None: such words are compared letter by letter.

    Raises:
        ArchiveError: there is no index, or it cannot be read.
        IndexFormatError: it is of another version.
    """

    def __init__(
        self, url: str, *, include_partial: bool = False, embed: Embed | None = None
    ) -> None:
        self._storage = Storage(str(url))
        self.head = read_head(self._storage)
        self._embed = embed
        self._lock = threading.Lock()
        self._state = IndexState(self._storage, include_partial)
        self._vocabulary = Vocabulary({}, [])
        self.refresh()

    def refresh(self) -> bool:
        """Notice what was added, removed or compacted since; whether there was anything.

        Reads records, and the small tables of what is new.
        """
        with self._lock:
            try:
                has_changed = self._state.refresh()
            except StaleError:  # files were compacted and deleted while their records were read
                has_changed = self._state.refresh()
            self._vocabulary = Vocabulary(
                self._state.num_videos_of_concepts, self._state.concepts, self._embed
            )
        return has_changed

    @property
    def concepts(self) -> list[Concept]:
        """What was looked for, with in how many videos."""
        return self._vocabulary.concepts

    def search(
        self,
        query: Query | Mapping[str, Any] | str | None = None,
        *,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        **fields: Any,
    ) -> Page:
        """The masklets that a query describes, a page of them.

        ``index.search("dog", min_duration_s=2, beside=[{"concept": "red car", "within_s": 2}])``

        Args:
            query: a query, its fields, or the concept alone.
            limit: at most so many hits.
            cursor: of the page before. What came to the index in between is shown in its place, and
                nothing is shown twice.
            fields: of :class:`Query`, beside those in ``query``.

        Raises:
            RequestError: the query is refused; ``faults`` names everything that is wrong.
            NotIndexedError: a concept was never looked for; the message names the nearest.
            InputError: the limit or the cursor cannot be used.
            ArchiveError: the index cannot be read.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
            raise InputError(f"limit is a whole number from 1 to {MAX_LIMIT}, not {limit!r:.60}")
        parsed = parse_query(query, fields)
        digest = parsed.digest()
        after = None if cursor is None else from_cursor(digest, cursor)
        return self._fresh(lambda: self._page(parsed, digest, limit, after))

    def hits(
        self,
        query: Query | Mapping[str, Any] | str | None = None,
        *,
        page_size: int = 1000,
        **fields: Any,
    ) -> Iterator[Hit]:
        """All masklets that a query describes, page by page; see :meth:`search`."""
        parsed, cursor = parse_query(query, fields), None
        while True:
            page = self.search(parsed, limit=page_size, cursor=cursor)
            yield from page.hits
            cursor = page.cursor
            if cursor is None:
                return

    def count(self, query: Query | Mapping[str, Any] | str | None = None, **fields: Any) -> int:
        """How many masklets a query describes; see :meth:`search`."""
        parsed = parse_query(query, fields)
        return self._fresh(lambda: self._count(parsed))

    def sql(self, text: str, values: Mapping[str, Any] | None = None) -> pa.Table:
        """Run a statement over ``tracks``, ``observations``, ``shots``, ``videos``, ``looked_for``.

        Args:
            text: one SELECT of DuckDB's SQL. It can read the index, nothing else.
            values: of the statement's parameters, such as ``$least``.

        Returns:
            An Arrow table.

        Raises:
            InputError: it is no such statement.
            ArchiveError: the index cannot be read.
        """
        try:
            statements = duckdb.extract_statements(text)
            if [one.type for one in statements] != [duckdb.StatementType.SELECT]:
                raise InputError("one SELECT is run, and nothing else")
            return self._fresh(lambda: self._state.database.table(text, values))
        except (duckdb.IOException, duckdb.OutOfMemoryException):
            raise
        except duckdb.Error as error:
            raise InputError(f"the statement cannot be run: {error}") from error

    def observations(self, hit: Hit) -> list[Observation]:
        """A masklet frame by frame, in order.

        Raises:
            ArchiveError: the index cannot be read.
        """
        return self.observations_of([hit])[0]

    def observations_of(self, hits: Sequence[Hit]) -> list[list[Observation]]:
        """The same for several hits at once, which is faster than one by one.

        Raises:
            ArchiveError: the index cannot be read.
        """
        return self._fresh(lambda: self._observations_of(hits)) if hits else []

    def frames(self, hit: Hit) -> Iterator[SeenFrame]:
        """A masklet frame by frame, each with its mask and its picture out of the video.

        Raises:
            SourceError: the video is gone, cannot be decoded, or has changed since it was indexed.
            ArchiveError: the index cannot be read.
        """
        observations = self.observations(hit)
        with open_video(hit) as source:
            yield from read_frames(source, hit, observations)

    def masks(self, hit: Hit) -> Iterator[tuple[Observation, NDArray[np.bool_]]]:
        """A masklet frame by frame, each with its mask: (H, W) bool of the displayed frame.

        Raises:
            ArchiveError: the index cannot be read.
        """
        for one in self.observations(hit):
            yield one, mask_of(one, hit)

    def close(self) -> None:
        """Release files and memory. Closing twice is fine."""
        self._state.close()

    def _page(self, query: Query, digest: str, limit: int, after: Position | None) -> Page:
        resolved = self._resolve(query)
        statement = page_statement(resolved, self._observations_for(resolved), limit + 1, after)
        rows = self._state.database.rows(statement.text, statement.values)
        hits = tuple(_hit(row) for row in rows[:limit])
        cursor = None
        if len(rows) > limit:
            key = rows[limit - 1][_SORT_KEY]
            cursor = to_cursor(digest, Position(key, hits[-1].video_id, hits[-1].object_id))
        return Page(hits, cursor, self._num_looked_at(resolved))

    def _count(self, query: Query) -> int:
        resolved = self._resolve(query)
        statement = count_statement(resolved, self._observations_for(resolved))
        ((number,),) = self._state.database.rows(statement.text, statement.values)
        return int(number)

    def _observations_of(self, hits: Sequence[Hit]) -> list[list[Observation]]:
        database = self._state.database
        columns = ", ".join(f"o.{name}" for name in OBSERVATION_COLUMNS)
        keys = {(hit.video_id, hit.object_id): number for number, hit in enumerate(hits)}
        videos = sorted({hit.video_id for hit in hits})
        parameters = Parameters()
        rows = database.rows(
            f"SELECT o.video_id, o.object_id, {columns} "
            f"FROM {database.observations_of(set(videos))} o "
            f"WHERE o.video_id IN ({parameters.add_all(videos)}) "
            f"AND o.object_id IN ({parameters.add_all(sorted({hit.object_id for hit in hits}))}) "
            "ORDER BY o.video_id, o.object_id, o.frame",
            parameters.values,
        )
        found: list[list[Observation]] = [[] for _ in hits]
        for video_id, object_id, *values in rows:
            number = keys.get((video_id, object_id))
            if number is not None:
                found[number].append(Observation(*values))
        return found

    def _resolve(self, query: Query) -> Resolved:
        """Find the concepts that the query's words mean."""
        vocabulary = self._vocabulary

        def meant(companions: tuple[Companion, ...]) -> tuple[Similarities, ...]:
            return tuple(vocabulary.resolve(one.concept, query.near) for one in companions)

        return Resolved(
            query,
            None if query.concept is None else vocabulary.resolve(query.concept, query.near),
            meant(query.beside),
            meant(query.without),
        )

    def _num_looked_at(self, resolved: Resolved) -> int:
        words = [one for one in (resolved.concepts, *resolved.beside, *resolved.without) if one]
        return min(map(self._vocabulary.num_looked_at, words), default=self._state.num_videos)

    def _observations_for(self, resolved: Resolved) -> str:
        """Where a statement finds the observations that it needs."""
        database = self._state.database
        if not resolved.query.needs_observations or not database.has_many_files:
            return "observations"
        statement = videos_statement(resolved)
        return database.observations_of(
            {video_id for (video_id,) in database.rows(statement.text, statement.values)}
        )

    def _fresh(self, answer: Callable[[], T]) -> T:
        """Answer; if files were compacted and deleted since the index was read, read it again."""
        try:
            return answer()
        except StaleError:
            self.refresh()
            return answer()


def parse_query(query: Query | Mapping[str, Any] | str | None, fields: Mapping[str, Any]) -> Query:
    """A query out of what :meth:`Index.search` takes.

    Raises:
        RequestError: it is refused; ``faults`` names everything that is wrong.
    """
    if isinstance(query, Query):
        given = query.model_dump(exclude_unset=True) | dict(fields)
        return Query.parse(given)
    if isinstance(query, str):
        return Query.parse({"concept": query} | dict(fields))
    return Query.parse(dict(query or {}) | dict(fields))


_STARTED = TRACK_COLUMNS.index("started_at")
_SORT_KEY = len(TRACK_COLUMNS) + 1


def _hit(row: tuple[Any, ...]) -> Hit:
    values = [*row[:_SORT_KEY], *row[_SORT_KEY + 1 :]]
    micros = values[_STARTED]
    values[_STARTED] = None if micros is None else _EPOCH + timedelta(microseconds=micros)
    hit = Hit(*values)
    if hit.source is None:  # a video whose row is not there yet
        return replace(hit, source="", name="", width=0, height=0)
    return hit
