"""Deletes what compactions that were cut off have left behind."""

from __future__ import annotations

from maskstream.pipeline.archive.format import layout
from maskstream.pipeline.archive.format.records import CatalogueRecord
from maskstream.pipeline.archive.format.storage import Storage


def sweep(storage: Storage, record: CatalogueRecord) -> int:
    """Delete all files of catalogues that neither this one names nor a reader may still need.

    Returns:
        How many files were deleted.
    """
    known = {
        layout.catalogue_head(record.number),
        record.passes.name,
        *(entry.name for entry in record.files),
        *(one.path for one in record.superseded),
    }
    found = [name for name in storage.names("") if layout.catalogue_number(name) is not None]
    for folder in storage.folders(layout.CATALOGUE):
        path = f"{layout.CATALOGUE}/{folder}"
        names = [f"{path}/{name}" for name in storage.names(path)]
        if not known & set(names):
            storage.delete_folder(path)
            names = []
        found += names
    needless = sorted(set(found) - known)
    for path in needless:
        storage.delete(path)
    return len(needless)
