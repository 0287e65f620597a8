"""What searches answer with: masklets, pages of them, and their observations."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime

from maskstream.core.errors import InputError
from maskstream.pipeline.archive.search.statement import Position


@dataclass(frozen=True, slots=True)
class Hit:
    """A masklet: one object of a concept, from its first frame to its last.

    Attributes:
        video_id, object_id: what tells it from all others.
        source, name: the address of the video and its last part; empty while nothing is known.
        concept: what it was found by.
        similarity: of the concept to the word that was asked for; 1 for the word itself.
        first_frame, last_frame: as the video counts its frames, from 0.
        start_s, end_s, duration_s: times of these two, of the video's own clock.
        started_at: the moment of the first one; None where the begin of the recording is unknown.
        num_observations: frames with a mask.
        mean_score, best_score: from 0 to 1.
        mean_area, min_area, max_area: fractions of the frame's area.
        mean_speed, max_speed: diagonals of the frame a second.
        move_x, move_y: from its first centre to its last, in fractions of width and height.
        best_frame, best_s: the frame with the best score, and its time.
        x0, y0, x1, y1: the box around all its boxes, in fractions of width and height.
        width, height: of the displayed frame in pixels.
    """

    video_id: str
    concept: str
    object_id: int
    first_frame: int
    last_frame: int
    start_s: float
    end_s: float
    duration_s: float
    started_at: datetime | None
    num_observations: int
    mean_score: float
    best_score: float
    mean_area: float
    min_area: float
    max_area: float
    mean_speed: float
    max_speed: float
    move_x: float
    move_y: float
    best_frame: int
    best_s: float
    x0: float
    y0: float
    x1: float
    y1: float
    similarity: float
    source: str
    name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Page:
    """Some hits, in the order that was asked for.

    Attributes:
        cursor: what to ask for the next page with; None if this is the last.
        num_videos: in how many videos of the index all that was asked for was looked for.
    """

    hits: tuple[Hit, ...]
    cursor: str | None
    num_videos: int


@dataclass(frozen=True, slots=True)
class Observation:
    """A masklet on one frame.

    Attributes:
        frame: as the video counts its frames, from 0.
        pts_s: its time, of the video's own clock.
        score: of the detection, else of the tracker.
        x0, y0, x1, y1: its box, in fractions of width and height.
        area: fraction of the frame's area.
        x, y: centre of mass of the mask.
        rle: COCO's compressed run-length code, of the displayed frame.
    """

    frame: int
    pts_s: float
    score: float
    x0: float
    y0: float
    x1: float
    y1: float
    area: float
    x: float
    y: float
    rle: bytes


OBSERVATION_COLUMNS = tuple(Observation.__annotations__)


def to_cursor(digest: str, position: Position) -> str:
    """A position as text, for the query with this digest only."""
    content = [digest, position.key, position.video_id, position.object_id]
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def from_cursor(digest: str, cursor: str) -> Position:
    """Undo ``to_cursor``.

    Raises:
        InputError: it is no cursor, or that of another query.
    """
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        content = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        made_for, key, video_id, object_id = content
        is_sound = (
            isinstance(key, int | float)
            and isinstance(video_id, str)
            and isinstance(object_id, int)
        )
    except (binascii.Error, ValueError, TypeError):
        is_sound = False
    if not is_sound:
        raise InputError(f"cursor {cursor[:60]!r} is none that a search has given")
    if made_for != digest:
        raise InputError(
            "the cursor belongs to another query: ask for the next page as for the first"
        )
    return Position(key, video_id, object_id)
