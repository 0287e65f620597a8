"""Hits as COCO and YouTube-VIS files, over as many videos as they come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, TextIO

from maskstream.core.errors import InputError
from maskstream.pipeline.archive.search import Hit, Index, Observation
from maskstream.pipeline.sinks.base import to_json, whole_file

INFO = {"description": "masklets found by maskstream", "contributor": ""}


class Categories:
    """Concepts and their ids, which count from 1 in the order of appearance."""

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}

    def id_of(self, concept: str) -> int:
        return self._ids.setdefault(concept, len(self._ids) + 1)

    def records(self) -> list[dict[str, Any]]:
        return [{"id": number, "name": name} for name, number in self._ids.items()]


def frame_name(hit: Hit, frame: int) -> str:
    """The name of a frame in the files: unique over all videos."""
    stem = hit.name.rpartition(".")[0] or hit.name or "video"
    return f"{stem}-{hit.video_id[:8]}/{frame:06d}.jpg"


def by_video(hits: Iterable[Hit]) -> list[list[Hit]]:
    """The hits of each video, videos in the order of their first hits."""
    videos: dict[str, list[Hit]] = {}
    for hit in hits:
        if hit.width == 0:
            raise InputError(f"the index does not say yet how large video {hit.video_id} is")
        videos.setdefault(hit.video_id, []).append(hit)
    return list(videos.values())


def annotation(hit: Hit, seen: Observation) -> dict[str, Any]:
    """What COCO's annotations say of a masklet on a frame, but for ids."""
    return {
        "track_id": hit.object_id,
        "bbox": pixel_box(hit, seen),
        "area": round(seen.area * hit.width * hit.height),
        "segmentation": segmentation(hit, seen),
        "iscrowd": 0,
        "score": round(seen.score, 6),
    }


def segmentation(hit: Hit, seen: Observation) -> dict[str, Any]:
    """The mask as COCO writes it."""
    return {"size": [hit.height, hit.width], "counts": seen.rle.decode("ascii")}


def pixel_box(hit: Hit, seen: Observation) -> list[float]:
    """x, y, width, height in pixels."""
    return [
        round(seen.x0 * hit.width, 2),
        round(seen.y0 * hit.height, 2),
        round((seen.x1 - seen.x0) * hit.width, 2),
        round((seen.y1 - seen.y0) * hit.height, 2),
    ]


def write_coco(index: Index, hits: Iterable[Hit], path: Path) -> int:
    """Write a COCO file: each frame with a hit is an image, each hit on it an annotation.

    ``track_id`` is the hit's object in its video; ``video_id`` and ``frame_index`` say which frame
    an image is. Pictures are not written.

    Returns:
        The number of annotations.

    Raises:
        OutputError: the file cannot be written.
        ArchiveError: the index cannot be read.
    """
    categories, images, number = Categories(), _Images(), 0
    with whole_file(path) as file:
        file.write(f'{{"info":{to_json(INFO)},\n"annotations":[')
        for hit, observations in _all_observations(index, hits):
            for seen in observations:
                number += 1
                record = {
                    "id": number,
                    "image_id": images.id_of(hit, seen),
                    "category_id": categories.id_of(hit.concept),
                    **annotation(hit, seen),
                }
                file.write((",\n" if number > 1 else "\n") + to_json(record))
        file.write('],\n"images":')
        _write_list(file, images.records())
        file.write(f',\n"categories":{to_json(categories.records())}}}\n')
    return number


def write_youtube_vis(index: Index, hits: Iterable[Hit], path: Path) -> int:
    """Write a YouTube-VIS file: one annotation for each hit.

    A video's frames are those with a hit; ``frame_indices`` says which they are. Where a hit is not
    seen, its segmentation, box and area are null.

    Returns:
        The number of annotations.

    Raises:
        OutputError: the file cannot be written.
        ArchiveError: the index cannot be read.
    """
    categories, number = Categories(), 0
    videos: list[dict[str, Any]] = []
    with whole_file(path) as file:
        file.write(f'{{"info":{to_json(INFO)},\n"annotations":[')
        pairs = _all_observations(index, hits)
        for _, group in groupby(pairs, key=lambda pair: pair[0].video_id):
            tracks = list(group)
            frames = sorted({seen.frame for _, track in tracks for seen in track})
            videos.append(_video(len(videos) + 1, tracks[0][0], frames))
            for hit, observations in tracks:
                number += 1
                record = {
                    "id": number,
                    "video_id": len(videos),
                    "category_id": categories.id_of(hit.concept),
                    **_track(hit, observations, frames),
                }
                file.write((",\n" if number > 1 else "\n") + to_json(record))
        file.write('],\n"videos":')
        _write_list(file, videos)
        file.write(f',\n"categories":{to_json(categories.records())}}}\n')
    return number


class _Images:
    """Frames and their ids, which count from 1."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, int], dict[str, Any]] = {}

    def id_of(self, hit: Hit, seen: Observation) -> int:
        key = (hit.video_id, seen.frame)
        if key not in self._records:
            self._records[key] = {
                "id": len(self._records) + 1,
                "file_name": frame_name(hit, seen.frame),
                "width": hit.width,
                "height": hit.height,
                "video_id": hit.video_id,
                "source": hit.source,
                "frame_index": seen.frame,
                "pts_s": seen.pts_s,
            }
        number: int = self._records[key]["id"]
        return number

    def records(self) -> Iterable[dict[str, Any]]:
        return self._records.values()


def _video(number: int, hit: Hit, frames: Sequence[int]) -> dict[str, Any]:
    return {
        "id": number,
        "width": hit.width,
        "height": hit.height,
        "length": len(frames),
        "source": hit.source,
        "file_names": [frame_name(hit, frame) for frame in frames],
        "frame_indices": list(frames),
    }


def _track(hit: Hit, observations: Sequence[Observation], frames: Sequence[int]) -> dict[str, Any]:
    by_frame = {seen.frame: seen for seen in observations}
    shown = [by_frame.get(frame) for frame in frames]
    return {
        "track_id": hit.object_id,
        "iscrowd": 0,
        "height": hit.height,
        "width": hit.width,
        "length": len(frames),
        "score": round(hit.mean_score, 6),
        "segmentations": [None if one is None else segmentation(hit, one) for one in shown],
        "bboxes": [None if one is None else pixel_box(hit, one) for one in shown],
        "areas": [
            None if one is None else round(one.area * hit.width * hit.height) for one in shown
        ],
    }


def _all_observations(index: Index, hits: Iterable[Hit]) -> Iterator[tuple[Hit, list[Observation]]]:
    """All hits, video by video, with their observations."""
    for video in by_video(hits):
        found = index.observations_of(video)
        yield from zip(video, found, strict=True)


def _write_list(file: TextIO, values: Iterable[Any]) -> None:
    file.write("[")
    for number, value in enumerate(values):
        file.write(("," if number else "") + to_json(value))
    file.write("]")
