"""The tables of an index, as Arrow schemas.

Conventions of all tables: times ``*_s`` are seconds of the video's own clock (pts), ``*_at`` are
moments in UTC. Frames are counted as the source counts them, from 0, whatever was sampled. Boxes,
centres, sizes and speeds are fractions of the displayed frame: x and widths of its width, y and
heights of its height, areas of its area; speeds and distances of its diagonal.

Rows are sorted by ``SORTED_BY``, and files are written with statistics, so that a search reads only
the row groups that can hold a hit.
"""

from __future__ import annotations

from typing import Final, Literal

import pyarrow as pa

FORMAT_VERSION: Final = 1
"""Goes up when a reader of the previous version would misread an index."""

TableName = Literal["videos", "shots", "tracks", "observations"]

VIDEOS: Final = pa.schema(
    [
        # 16 hexadecimal digits, made from the source's address.
        pa.field("video_id", pa.string(), nullable=False),
        # The address of the file, without credentials, and its last part.
        pa.field("source", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        # When the recording began: from the manifest, else from the container; null if unknown.
        pa.field("recorded_at", pa.timestamp("us", tz="UTC")),
        pa.field("duration_s", pa.float64()),
        # Frames that were looked at.
        pa.field("num_frames", pa.int64(), nullable=False),
        # Mean frames a second of the file; null if it says nothing.
        pa.field("fps", pa.float64()),
        # Displayed size in pixels: rotation is applied, pixels are square.
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("container", pa.string()),
        pa.field("codec", pa.string()),
        pa.field("size_bytes", pa.int64()),
        # The concepts that were looked for, whether found or not.
        pa.field("concepts", pa.list_(pa.string()), nullable=False),
        # Which pass over the video the row is of; see VideoManifest.
        pa.field("pass_key", pa.string(), nullable=False),
    ]
)

SHOTS: Final = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("shot", pa.int32(), nullable=False),
        pa.field("first_frame", pa.int64(), nullable=False),
        pa.field("last_frame", pa.int64(), nullable=False),
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("end_s", pa.float64(), nullable=False),
    ]
)

TRACKS: Final = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("concept", pa.string(), nullable=False),
        # Unique in its video, over all passes.
        pa.field("object_id", pa.int32(), nullable=False),
        pa.field("first_frame", pa.int64(), nullable=False),
        pa.field("last_frame", pa.int64(), nullable=False),
        # Times of the first and the last frame with a mask.
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("end_s", pa.float64(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("started_at", pa.timestamp("us", tz="UTC")),
        pa.field("num_observations", pa.int32(), nullable=False),
        pa.field("mean_score", pa.float32(), nullable=False),
        pa.field("best_score", pa.float32(), nullable=False),
        pa.field("mean_area", pa.float32(), nullable=False),
        pa.field("min_area", pa.float32(), nullable=False),
        pa.field("max_area", pa.float32(), nullable=False),
        # Diagonals a second along the path; 0 for a single observation.
        pa.field("mean_speed", pa.float32(), nullable=False),
        pa.field("max_speed", pa.float32(), nullable=False),
        # From the first centre to the last.
        pa.field("move_x", pa.float32(), nullable=False),
        pa.field("move_y", pa.float32(), nullable=False),
        # The frame with the best score; of several, the one with the largest area, then the first.
        pa.field("best_frame", pa.int64(), nullable=False),
        pa.field("best_s", pa.float64(), nullable=False),
        # The box around all boxes.
        pa.field("x0", pa.float32(), nullable=False),
        pa.field("y0", pa.float32(), nullable=False),
        pa.field("x1", pa.float32(), nullable=False),
        pa.field("y1", pa.float32(), nullable=False),
        # Centres of at most MAX_PATH observations, evenly chosen, with the first and the last.
        pa.field("path_s", pa.list_(pa.float64()), nullable=False),
        pa.field("path_x", pa.list_(pa.float32()), nullable=False),
        pa.field("path_y", pa.list_(pa.float32()), nullable=False),
    ]
)

OBSERVATIONS: Final = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("concept", pa.string(), nullable=False),
        pa.field("object_id", pa.int32(), nullable=False),
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("pts_s", pa.float64(), nullable=False),
        # Score of the detection, else of the tracker; see FrameResult.probabilities.
        pa.field("score", pa.float32(), nullable=False),
        pa.field("x0", pa.float32(), nullable=False),
        pa.field("y0", pa.float32(), nullable=False),
        pa.field("x1", pa.float32(), nullable=False),
        pa.field("y1", pa.float32(), nullable=False),
        pa.field("area", pa.float32(), nullable=False),
        # Centre of mass of the mask.
        pa.field("x", pa.float32(), nullable=False),
        pa.field("y", pa.float32(), nullable=False),
        # COCO's compressed run-length code, of the displayed frame of the video.
        pa.field("rle", pa.binary(), nullable=False),
    ]
)

PASSES: Final = pa.schema(
    [
        pa.field("video_id", pa.string(), nullable=False),
        pa.field("pass_key", pa.string(), nullable=False),
        # As in the pass's manifest.
        pa.field("first_object_id", pa.int32(), nullable=False),
        pa.field("last_object_id", pa.int32(), nullable=False),
        # When the pass's own tables were merged, and whether they have been deleted since.
        pa.field("merged_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("is_sole", pa.bool_(), nullable=False),
    ]
)
"""The passes that a catalogue holds, sorted by video and pass. No table of the index itself."""

SCHEMAS: Final[dict[TableName, pa.Schema]] = {
    "videos": VIDEOS,
    "shots": SHOTS,
    "tracks": TRACKS,
    "observations": OBSERVATIONS,
}

SORTED_BY: Final[dict[TableName, tuple[str, ...]]] = {
    "videos": ("video_id",),
    "shots": ("video_id", "shot"),
    "tracks": ("concept", "video_id", "start_s", "object_id"),
    "observations": ("video_id", "concept", "object_id", "frame"),
}

MAX_PATH: Final = 64

ROW_GROUP: Final[dict[TableName, int]] = {
    "videos": 4096,
    "shots": 16_384,
    "tracks": 4096,
    "observations": 16_384,
}
"""Rows of a row group: what a search reads at least of a table."""
