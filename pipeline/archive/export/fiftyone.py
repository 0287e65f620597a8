"""Hits as a folder that FiftyOne opens.

It is what FiftyOne calls a ``COCODetectionDataset``: pictures in ``data/``, and ``labels.json``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from maskstream.pipeline.archive.export.coco import INFO, Categories, annotation, by_video
from maskstream.pipeline.archive.search import Hit, Index, Observation
from maskstream.pipeline.archive.search.pictures import open_video, read_frame
from maskstream.pipeline.sinks.base import cannot_write, to_json, whole_file

LABELS = "labels.json"
DATA = "data"
_QUALITY = 92


def write_fiftyone(index: Index, hits: Iterable[Hit], folder: Path) -> int:
    """Write the best frame of each hit as a picture, with all hits that are seen on it.

    In FiftyOne::

        fiftyone.Dataset.from_dir(
            dataset_dir=folder, dataset_type=fiftyone.types.COCODetectionDataset,
            label_types=["detections", "segmentations"],
        )

    Args:
        folder: made if need be. The file ``labels.json`` comes last.

    Returns:
        The number of pictures.

    Raises:
        OutputError: a file cannot be written.
        SourceError: a video is gone, cannot be decoded, or has changed since it was indexed.
        ArchiveError: the index cannot be read.
    """
    try:
        (folder / DATA).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    categories = Categories()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for video in by_video(hits):
        tracks = list(zip(video, index.observations_of(video), strict=True))
        frames = {hit.best_frame for hit in video}
        with open_video(video[0]) as source:
            for frame in sorted(frames):
                seen = [(hit, one) for hit, track in tracks for one in track if one.frame == frame]
                picture = read_frame(source, *seen[0]).image
                images.append(_image(len(images) + 1, *seen[0]))
                _save(picture, folder / DATA / images[-1]["file_name"])
                annotations += [
                    {
                        "id": len(annotations) + number,
                        "image_id": len(images),
                        "category_id": categories.id_of(hit.concept),
                        **annotation(hit, one),
                    }
                    for number, (hit, one) in enumerate(seen, 1)
                ]
    content = {
        "info": INFO,
        "licenses": [],
        "categories": [{**one, "supercategory": None} for one in categories.records()],
        "images": images,
        "annotations": annotations,
    }
    with whole_file(folder / LABELS) as file:
        file.write(to_json(content))
    return len(images)


def _image(number: int, hit: Hit, seen: Observation) -> dict[str, Any]:
    return {
        "id": number,
        "file_name": f"{hit.video_id}-{seen.frame:06d}.jpg",
        "width": hit.width,
        "height": hit.height,
        "license": None,
        "coco_url": None,
        "source": hit.source,
        "frame_index": seen.frame,
        "pts_s": seen.pts_s,
    }


def _save(picture: Any, path: Path) -> None:
    try:
        Image.fromarray(picture).save(path, "JPEG", quality=_QUALITY)
    except OSError as error:
        raise cannot_write(path, error) from error
