"""Hits as one picture: the best frame of each, cut to what is seen."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from maskstream.core.errors import InputError, OutputError
from maskstream.pipeline.archive.export.clips import to_result
from maskstream.pipeline.archive.export.coco import by_video
from maskstream.pipeline.archive.search import Hit, Index
from maskstream.pipeline.archive.search.pictures import SeenFrame, open_video, read_frame
from maskstream.pipeline.sinks.base import whole_path
from maskstream.pipeline.sinks.labels import label_picture
from maskstream.pipeline.sinks.overlay import draw_overlay

TILE = (240, 180)
MAX_TILES = 2000
_CAPTION = 34
_TEXT = 12
_MARGIN = 6
_AROUND = 1.8
"""How much of the picture is shown: so many times the object's box."""
_PAPER = (24, 24, 24)


def write_contact_sheet(index: Index, hits: Iterable[Hit], path: Path, *, columns: int = 5) -> int:
    """Write a picture with a tile for each hit, in their order; how many there are.

    Args:
        path: its suffix says the kind of picture, such as ``.jpg`` or ``.png``.

    Raises:
        InputError: there are too many hits, or none.
        OutputError: the picture cannot be written.
        SourceError: a video is gone, cannot be decoded, or has changed since it was indexed.
        ArchiveError: the index cannot be read.
    """
    wanted = list(hits)
    if not 1 <= len(wanted) <= MAX_TILES:
        raise InputError(f"a contact sheet shows 1 to {MAX_TILES} hits, not {len(wanted)}")
    tiles = {(hit.video_id, hit.object_id): tile for hit, tile in _tiles(index, wanted)}
    columns = min(columns, len(wanted))
    step = (TILE[0] + _MARGIN, TILE[1] + _CAPTION + _MARGIN)
    size = (columns * step[0] + _MARGIN, math.ceil(len(wanted) / columns) * step[1] + _MARGIN)
    sheet = Image.new("RGB", size, _PAPER)
    for number, hit in enumerate(wanted):
        row, column = divmod(number, columns)
        corner = (_MARGIN + column * step[0], _MARGIN + row * step[1])
        sheet.paste(tiles[hit.video_id, hit.object_id], corner)
        _write_caption(sheet, hit, (corner[0], corner[1] + TILE[1] + 2))
    _save(sheet, path)
    return len(wanted)


def _tiles(index: Index, hits: list[Hit]) -> Iterable[tuple[Hit, Image.Image]]:
    """The tile of each hit; each video is opened once and read in order."""
    for video in by_video(hits):
        observations = index.observations_of(video)
        with open_video(video[0]) as source:
            for hit, seen in sorted(
                zip(video, observations, strict=True), key=lambda pair: pair[0].best_frame
            ):
                best = [one for one in seen if one.frame == hit.best_frame]
                if not best:
                    raise OutputError(f"the index holds no best frame of object {hit.object_id}")
                yield hit, _tile(read_frame(source, hit, best[0]), hit)


def _tile(seen: SeenFrame, hit: Hit) -> Image.Image:
    """What is around the object, as large as a tile; painted last, so that text is sharp."""
    where = _around(seen)
    image = Image.fromarray(seen.image[where]).resize(TILE, Image.Resampling.LANCZOS)
    mask = Image.fromarray(seen.mask[where]).resize(TILE, Image.Resampling.NEAREST)
    result = replace(to_result(hit, seen.observation), masks=np.asarray(mask)[None])
    return Image.fromarray(draw_overlay(np.asarray(image), result))


def _around(seen: SeenFrame) -> tuple[slice, slice]:
    """The part of a picture around the object, with the shape of a tile where there is room."""
    height, width = seen.mask.shape
    one = seen.observation
    wide = max((one.x1 - one.x0) * width, (one.y1 - one.y0) * height * TILE[0] / TILE[1], 16.0)
    cut_width = min(width, round(wide * _AROUND))
    cut_height = min(height, round(cut_width * TILE[1] / TILE[0]))
    left = round((one.x0 + one.x1) / 2 * width - cut_width / 2)
    top = round((one.y0 + one.y1) / 2 * height - cut_height / 2)
    left, top = min(max(left, 0), width - cut_width), min(max(top, 0), height - cut_height)
    return slice(top, top + cut_height), slice(left, left + cut_width)


def _write_caption(sheet: Image.Image, hit: Hit, corner: tuple[int, int]) -> None:
    lines = (f"{hit.concept} {hit.best_score:.2f}", f"{_clock(hit.best_s)} {hit.name}")
    for number, line in enumerate(lines):
        picture = label_picture(line, _PAPER, _TEXT, None)[:, : TILE[0]]
        sheet.paste(Image.fromarray(picture), (corner[0], corner[1] + number * (_TEXT + 4)))


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _save(sheet: Image.Image, path: Path) -> None:
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise InputError(f"{path}: {path.suffix or 'no suffix'} is no kind of picture; try .jpg")
    with whole_path(path) as part:
        sheet.save(part, kind)
