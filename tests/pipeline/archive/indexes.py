"""Indexes as the tests build and read them, and what their rows must be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from maskstream.core.frame_stamp import FrameStamp
from maskstream.core.rle import encode_mask
from maskstream.pipeline.api.results import FrameResult
from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.records import (
    FailureRecord,
    IndexHead,
    IndexSettings,
    VideoManifest,
)
from maskstream.pipeline.archive.format.storage import Storage
from maskstream.pipeline.archive.format.tables import TableName
from maskstream.pipeline.archive.indexing.building import BuildResult, BuildRules, build_index
from maskstream.pipeline.archive.indexing.pool import InProcessPool
from maskstream.pipeline.archive.indexing.tools import IndexingTools
from maskstream.pipeline.sources import Frame, open_source
from tests.pipeline.archive.scripted import ScriptedTools

SETTINGS = IndexSettings(checkpoint="0" * 64, chunk_s=0.25)


def head_of(settings: IndexSettings) -> IndexHead:
    return IndexHead(created_by="test", checkpoint_name="test", settings=settings)


def build(
    archive: Path | str | Sequence[str],
    index: Path | str,
    *texts: str,
    settings: IndexSettings = SETTINGS,
    tools: IndexingTools | None = None,
    in_hand: int = 1,
    rules: BuildRules | None = None,
    must_stop: Callable[[], bool] = lambda: False,
) -> BuildResult:
    """Build in this process."""
    used: IndexingTools = ScriptedTools() if tools is None else tools
    storage = Storage(str(index))
    return build_index(
        [str(archive)] if isinstance(archive, Path | str) else archive,
        texts,
        storage,
        head_of(settings),
        load=lambda: used,
        open_pool=lambda tell, must_stop: InProcessPool(
            settings, storage, used, in_hand=in_hand, tell=tell, must_stop=must_stop
        ),
        rules=rules,
        must_stop=must_stop,
    )


def manifests(index: Path | str) -> list[VideoManifest]:
    """The manifests of an index, by source."""
    storage = Storage(str(index))
    found = []
    for name in storage.names(layout.MANIFESTS):
        blob = storage.read(f"{layout.MANIFESTS}/{name}")
        assert blob is not None
        found.append(VideoManifest.from_bytes(blob, name))
    return sorted(found, key=lambda one: (one.source, one.pass_key))


def failures(index: Path | str) -> list[FailureRecord]:
    """The failures of an index, by source."""
    storage = Storage(str(index))
    found = []
    for name in storage.names(layout.FAILURES):
        blob = storage.read(f"{layout.FAILURES}/{name}")
        assert blob is not None
        found.append(FailureRecord.from_bytes(blob, name))
    return sorted(found, key=lambda one: one.source)


def read_table(index: Path | str, manifest: VideoManifest, table: TableName) -> pa.Table:
    """A table of a pass, over all of its files."""
    storage = Storage(str(index))
    found = []
    for entry in manifest.files:
        if entry.table == table:
            blob = storage.read(f"{layout.video_folder(manifest.video_id)}/{entry.name}")
            assert blob is not None
            found.append(pq.read_table(pa.BufferReader(blob)))
    return pa.concat_tables(found)


def all_files(index: Path) -> dict[str, bytes]:
    """The bytes of all files of an index that is a folder."""
    return {
        path.relative_to(index).as_posix(): path.read_bytes()
        for path in sorted(index.rglob("*"))
        if path.is_file()
    }


def rows_of(index: Path | str, manifest: VideoManifest) -> list[dict[str, Any]]:
    """The observations of a pass, in the order of frames and objects."""
    rows: list[dict[str, Any]] = read_table(index, manifest, "observations").to_pylist()
    return sorted(rows, key=lambda row: (row["frame"], row["object_id"]))


def reference_rows(
    path: Path,
    texts: Sequence[str],
    tools: IndexingTools,
    *,
    video_id: str,
    keeps: Callable[[Frame], bool] = lambda frame: True,
) -> list[dict[str, Any]]:
    """What a loop over all frames of a file gives, in one go and without an index."""
    tracking = tools.new_tracking()
    for text in sorted(texts):
        tracking.add_concept(text)
    rows: list[dict[str, Any]] = []
    looked_at: list[tuple[int, float]] = []
    with open_source(path) as source:
        fps = float(source.info.fps or 25.0)
        for frame in source:
            if not keeps(frame):
                continue
            looked_at.append(
                (frame.index, frame.index / fps if frame.pts_s is None else frame.pts_s)
            )
            for result in _step(tracking, len(looked_at) - 1, frame, tools):
                rows += _rows(result, looked_at, video_id)
    for result in tracking.flush():
        rows += _rows(result, looked_at, video_id)
    return sorted(rows, key=lambda row: (row["frame"], row["object_id"]))


def _step(tracking: Any, number: int, frame: Frame, tools: IndexingTools) -> list[FrameResult]:
    [detected] = tools.detect([frame.image], [tracking.concepts])
    height, width = frame.image.shape[:2]
    stamp = FrameStamp(number, size=(height, width))
    results: list[FrameResult] = tracking.step(stamp, detected.features, detected.detections)
    return results


def _rows(
    result: FrameResult, looked_at: list[tuple[int, float]], video_id: str
) -> Iterator[dict[str, Any]]:
    index, time_s = looked_at[result.frame_index]
    height, width = result.frame_size
    for row in range(len(result)):
        mask = result.masks[row]
        y, x = np.nonzero(mask)
        box = result.boxes_xywh[row].astype(float)
        yield {
            "video_id": video_id,
            "concept": result.labels[row],
            "object_id": int(result.obj_ids[row]),
            "frame": index,
            "pts_s": time_s,
            "score": float(result.probabilities[row]),
            "x0": float(np.float32(box[0])),
            "y0": float(np.float32(box[1])),
            "x1": float(np.float32(box[0] + box[2])),
            "y1": float(np.float32(box[1] + box[3])),
            "area": float(np.float32(mask.mean(dtype=np.float64))),
            "x": float(np.float32((x.astype(float) + 0.5).mean() / width)),
            "y": float(np.float32((y.astype(float) + 0.5).mean() / height)),
            "rle": encode_mask(mask)["counts"].encode(),
        }
