"""Writes hits as files: rows, annotations, clips, pictures. No torch, no Ray."""

from maskstream.pipeline.archive.export.clips import write_clip, write_clips
from maskstream.pipeline.archive.export.coco import write_coco, write_youtube_vis
from maskstream.pipeline.archive.export.fiftyone import write_fiftyone
from maskstream.pipeline.archive.export.rows import hit_record, write_rows
from maskstream.pipeline.archive.export.sheet import write_contact_sheet

__all__ = [
    "hit_record",
    "write_clip",
    "write_clips",
    "write_coco",
    "write_contact_sheet",
    "write_fiftyone",
    "write_rows",
    "write_youtube_vis",
]
