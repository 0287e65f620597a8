"""Opens the feed of a session's source in a decode worker. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskstream.pipeline.session.feed import Feed
from maskstream.pipeline.session.open_feed import open_feed
from maskstream.pipeline.session.pushed_feed import PushedFeed


def open_worker_feed(spec: Mapping[str, Any]) -> Feed:
    """Open a session's source; called in the decode worker's process.

    Args:
        spec: ``store`` (StoreAddress), ``session_id``, ``policy`` (SourcePolicy).
    """
    store = spec["store"].open()
    feed = open_feed(store, spec["session_id"], spec["policy"])
    if not isinstance(feed, PushedFeed):  # only pushed frames come from the store
        store.close()
    return feed
