"""Opens the feed of a session's source in a decode worker. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from maskstream.core.errors import StoreError
from maskstream.pipeline.session.feed import Feed
from maskstream.pipeline.session.open_feed import open_feed
from maskstream.pipeline.session.pushed_feed import PushedFeed
from maskstream.pipeline.session.watched_feed import WatchedFeed


def open_worker_feed(spec: Mapping[str, Any]) -> Feed:
    """Open a session's source; called in the decode worker's process.

    Args:
        spec: ``store`` (StoreAddress), ``session_id``, ``policy`` (SourcePolicy).
    """
    session_id = spec["session_id"]
    store = spec["store"].open()
    feed = open_feed(store, session_id, spec["policy"])
    if not isinstance(feed, PushedFeed):  # only pushed frames come from the store
        store.close()
    try:
        shown = replace(spec["store"], retry_for_s=0.0).open()
    except StoreError:
        return feed  # the server has gone at this very moment; viewers get no pictures
    return WatchedFeed(feed, shown.pictures, session_id, shown.close)
