"""What the session store keeps, as checked records that travel as JSON."""

from maskstream.pipeline.store.records.frames import (
    PushedFrame,
    PushedPage,
    PushReceipt,
)
from maskstream.pipeline.store.records.logs import (
    PROMPT_KINDS,
    Checkpoint,
    EntryKind,
    JournalEntry,
    JournalPage,
    NewEntry,
    Outcome,
    ResultEntry,
    ResultPage,
)
from maskstream.pipeline.store.records.sessions import (
    MAX_STATS_BYTES,
    Claim,
    Counters,
    NewSession,
    ServiceLimits,
    SessionLimits,
    SessionListing,
    SessionRecord,
    SessionState,
)

__all__ = [
    "MAX_STATS_BYTES",
    "PROMPT_KINDS",
    "Checkpoint",
    "Claim",
    "Counters",
    "EntryKind",
    "JournalEntry",
    "JournalPage",
    "NewEntry",
    "NewSession",
    "Outcome",
    "PushReceipt",
    "PushedFrame",
    "PushedPage",
    "ResultEntry",
    "ResultPage",
    "ServiceLimits",
    "SessionLimits",
    "SessionListing",
    "SessionRecord",
    "SessionState",
]
