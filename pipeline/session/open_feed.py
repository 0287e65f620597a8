"""Opens the feed of a session's source."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from maskstream.core.error_text import error_text
from maskstream.core.errors import MaskstreamError
from maskstream.pipeline.api.options import PUSHED_SOURCE, SessionOptions, source_kind
from maskstream.pipeline.live import HostFilter, LiveConfig, open_live
from maskstream.pipeline.live.url import parse_address
from maskstream.pipeline.session.feed import Feed
from maskstream.pipeline.session.file_feed import FailedFeed, FileFeed
from maskstream.pipeline.session.live_feed import LiveFeed
from maskstream.pipeline.session.pushed_feed import PushedFeed
from maskstream.pipeline.sources import open_source
from maskstream.pipeline.store import SessionStore


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """Which sources may be opened.

    Attributes:
        allowed_schemes: schemes of URLs; None takes the default of the live sources.
        allowed_roots: folders that files must be in; None allows all.
        hosts: hosts that may be connected to; None allows all.
    """

    allowed_schemes: tuple[str, ...] | None = None
    allowed_roots: tuple[str, ...] | None = None
    hosts: HostFilter | None = None

    def live_config(self, options: SessionOptions) -> LiveConfig:
        """The options to open a session's source with, with these limits."""
        roots = self.allowed_roots
        return options.to_live_config(
            allowed_schemes=self.allowed_schemes,
            allowed_roots=None if roots is None else [Path(root) for root in roots],
            hosts=self.hosts,
        )


def open_feed(store: SessionStore, session_id: str, policy: SourcePolicy) -> Feed:
    """Open a session's source. If that fails, the feed reports it with its first note.

    Raises:
        SessionNotFoundError: there is no such session.
        StoreError: the store cannot be reached.
    """
    record = store.get_session(session_id)
    options = SessionOptions.from_stored(record.options)
    if record.source == PUSHED_SOURCE:
        return PushedFeed(store, session_id, options)
    try:
        source, config = store.reveal_source(session_id), policy.live_config(options)
        address = parse_address(source, config)
        if is_live(source, options):
            return LiveFeed(open_live(source, config))
        files = open_source(address.reveal(), allowed_roots=config.allowed_roots)
        return FileFeed(files, options, config)
    except MaskstreamError as error:
        return FailedFeed(error_text(error))


def is_live(source: str, options: SessionOptions) -> bool:
    """Whether frames that were missed cannot be read again."""
    kind = source_kind(source)
    return kind in ("stream", "device") or (kind == "file" and options.loop)
