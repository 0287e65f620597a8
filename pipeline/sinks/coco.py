"""COCO and YouTube-VIS files, written from the spool without loading all of it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from maskstream.pipeline.sinks.base import to_json, whole_file
from maskstream.pipeline.sinks.spool import ResultSpool, SpooledObject
from maskstream.pipeline.sources import FrameSource

# Category of objects without a label.
_UNLABELLED = "object"


class _Categories:
    """Labels and their ids, which count from 1: first those given, then in order of appearance."""

    def __init__(self, first: Sequence[str]) -> None:
        self._ids = {label: number for number, label in enumerate(dict.fromkeys(first), start=1)}

    def id_of(self, record: dict[str, Any]) -> int:
        return self._ids.setdefault(record["label"] or _UNLABELLED, len(self._ids) + 1)

    def records(self) -> list[dict[str, Any]]:
        return [{"id": number, "name": name} for name, number in self._ids.items()]


def write_coco(
    spool: ResultSpool, path: Path, source: FrameSource, categories: Sequence[str] = ()
) -> None:
    """Write a COCO file: each frame is an image, each object on it an annotation.

    The image id is the frame index; ``track_id`` is the object's lasting identity. Boxes are x, y,
    width, height in pixels. Objects without a visible pixel are left out.

    Args:
        categories: labels that get the first ids, in this order.

    Raises:
        OutputError: the file cannot be written.
    """
    known = _Categories(categories)

    def images() -> Iterator[dict[str, Any]]:
        for frame in spool.frames():
            yield {
                "id": frame["frame_index"],
                "file_name": source.frame_name(frame["frame_index"]),
                "width": frame["width"],
                "height": frame["height"],
                "frame_index": frame["frame_index"],
                "pts_s": frame["pts_s"],
            }

    def annotations() -> Iterator[dict[str, Any]]:
        visible = (item for item in spool.objects() if item.area)
        # Ids count from 1, because evaluation tools take 0 for "no match".
        for number, item in enumerate(visible, start=1):
            yield {
                "id": number,
                "image_id": item.frame_index,
                "category_id": known.id_of(item.record),
                "track_id": item.record["obj_id"],
                "bbox": _pixel_box(item),
                "area": item.area,
                "segmentation": item.record["segmentation"],
                "iscrowd": 0,
                "score": item.record["score"],
                "tracker_score": item.record["tracker_score"],
            }

    with whole_file(path) as file:
        file.write(f'{{"info":{to_json(_info(source))},\n"images":')
        _write_list(file, images())
        file.write(',\n"annotations":')
        _write_list(file, annotations())
        file.write(f',\n"categories":{to_json(known.records())}}}\n')


def write_youtube_vis(
    spool: ResultSpool, path: Path, source: FrameSource, categories: Sequence[str] = ()
) -> None:
    """Write a YouTube-VIS file: one video, with one annotation for each track.

    A track has a segmentation, box and area for each frame in the video's ``file_names``, or null
    if the object is not visible there. ``frame_indices`` gives the source's index of each of these
    frames. The score of a track is the mean over its frames.

    Args:
        categories: labels that get the first ids, in this order.

    Raises:
        OutputError: the file cannot be written.
    """
    known = _Categories(categories)
    frame_indices = array("q", (frame["frame_index"] for frame in spool.frames()))
    with whole_file(path) as file:
        info, length = source.info, len(frame_indices)
        file.write(f'{{"info":{to_json(_info(source))},\n"videos":[')
        file.write(f'{{"id":1,"width":{info.width},"height":{info.height},"length":{length},')
        file.write('"file_names":')
        _write_list(file, (source.frame_name(index) for index in frame_indices))
        file.write(',"frame_indices":')
        _write_list(file, frame_indices)
        file.write('}],\n"annotations":[')
        for number, obj_id in enumerate(spool.track_ids(), start=1):
            file.write("\n" if number == 1 else ",\n")
            head = _track_head(spool, obj_id, known)
            file.write(to_json({"id": number, "video_id": 1, **head, "length": length})[:-1])
            for name, value_of in _TRACK_COLUMNS.items():
                file.write(f',"{name}":')
                _write_list(file, _per_frame(spool, obj_id, frame_indices, value_of))
            file.write("}")
        file.write(f'],\n"categories":{to_json(known.records())}}}\n')


def _track_head(spool: ResultSpool, obj_id: int, categories: _Categories) -> dict[str, Any]:
    num_scores, total, category_id, size = 0, 0.0, 0, [0, 0]
    for item in spool.objects_of_track(obj_id):
        category_id = category_id or categories.id_of(item.record)
        size = item.record["segmentation"]["size"]
        if item.record["score"] is not None:
            total += item.record["score"]
            num_scores += 1
    return {
        "track_id": obj_id,
        "category_id": category_id,
        "iscrowd": 0,
        "height": size[0],
        "width": size[1],
        "score": round(total / num_scores, 6) if num_scores else None,
    }


def _per_frame(
    spool: ResultSpool,
    obj_id: int,
    frame_indices: Iterable[int],
    value_of: Callable[[SpooledObject], Any],
) -> Iterator[Any]:
    items = spool.objects_of_track(obj_id)
    item = next(items, None)
    for frame_index in frame_indices:
        if item is None or item.frame_index != frame_index:
            yield None
            continue
        yield value_of(item) if item.area else None
        item = next(items, None)


def _pixel_box(item: SpooledObject) -> list[float]:
    height, width = item.record["segmentation"]["size"]
    x, y, box_width, box_height = (value or 0.0 for value in item.record["box_xywh"])
    return [
        round(x * width, 2),
        round(y * height, 2),
        round(box_width * width, 2),
        round(box_height * height, 2),
    ]


_TRACK_COLUMNS: dict[str, Callable[[SpooledObject], Any]] = {
    "segmentations": lambda item: item.record["segmentation"],
    "bboxes": _pixel_box,
    "areas": lambda item: item.area,
}


def _info(source: FrameSource) -> dict[str, Any]:
    return {"description": f"masks and identities of {source.info.name}", "contributor": ""}


def _write_list(file: TextIO, values: Iterable[Any]) -> None:
    file.write("[")
    for number, value in enumerate(values):
        file.write(to_json(value) if number == 0 else "," + to_json(value))
    file.write("]")
