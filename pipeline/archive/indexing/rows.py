"""Results of frames as rows of the table of observations, and tables as files."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from maskstream.core.rle import mask_box
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.archive.format.tables import (
    OBSERVATIONS,
    ROW_GROUP,
    SORTED_BY,
    TableName,
)


class ObservationRows:
    """Gathers the observations of a chunk.

    Args:
        video_id: the video that they are of.
    """

    def __init__(self, video_id: str) -> None:
        self._video_id = video_id
        self._columns: dict[str, list[object]] = {name: [] for name in OBSERVATIONS.names}

    def add(self, result: FrameResult, first_object_id: int) -> None:
        """Add the objects of a frame; its ids are counted from ``first_object_id`` on."""
        for row in range(len(result)):
            area, x, y = _area_and_centre(result.masks[row])
            left, top, width, height = (float(one) for one in result.boxes_xywh[row])
            values = {
                "video_id": self._video_id,
                "concept": result.labels[row],
                "object_id": first_object_id + int(result.obj_ids[row]),
                "frame": result.frame_index,
                "pts_s": result.pts_s,
                "score": float(result.probabilities[row]),
                "x0": left,
                "y0": top,
                "x1": left + width,
                "y1": top + height,
                "area": area,
                "x": x,
                "y": y,
                "rle": result.rles[row]["counts"].encode(),
            }
            for name, value in values.items():
                self._columns[name].append(value)

    def to_table(self) -> pa.Table:
        """All of them, sorted, as a table of the schema ``OBSERVATIONS``."""
        return sort_table(pa.table(self._columns, schema=OBSERVATIONS), "observations")


def sort_table(table: pa.Table, name: TableName) -> pa.Table:
    """A table in the order that the format asks for."""
    return table.sort_by([(column, "ascending") for column in SORTED_BY[name]])


def table_to_bytes(table: pa.Table, name: TableName) -> bytes:
    """A table as Parquet: the same bytes for the same rows."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        version="2.6",
        compression="zstd",
        write_statistics=True,
        row_group_size=ROW_GROUP[name],
    )
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _area_and_centre(mask: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Of a (H, W) mask with a pixel in it: area, x and y of the centre, as fractions."""
    height, width = mask.shape
    box = mask_box(mask)
    if box is None:
        raise ValueError("the mask is empty")
    x0, y0, x1, y1 = box
    inside = mask[y0:y1, x0:x1]
    columns, rows = inside.sum(0), inside.sum(1)
    num_pixels = int(columns.sum())
    x = float((columns * (np.arange(x0, x1) + 0.5)).sum()) / num_pixels
    y = float((rows * (np.arange(y0, y1) + 0.5)).sum()) / num_pixels
    return num_pixels / (height * width), x / width, y / height
