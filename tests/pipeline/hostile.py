"""Requests from clients that are careless, confused or hostile."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from maskstream.core.errors import RequestError
from maskstream.pipeline.api.faults import MAX_FAULTS
from maskstream.pipeline.api.options import SessionOptions
from maskstream.pipeline.api.parsing import parse_request
from maskstream.pipeline.api.requests import StartSession

TYPES = [
    "start_session", "add_prompt", "propagate_in_video", "remove_object", "remove_prompt",
    "reset_session", "close_session", "cancel_propagation", "pause_session", "resume_session",
    "list_sessions", "get_session", "get_results", "stream_results", "push_frame",
]  # fmt: skip
FIELDS = [
    "session_id", "resource_path", "frame_index", "text", "bounding_boxes", "bounding_box_labels",
    "points", "point_labels", "mask", "obj_id", "prompt_id", "owner", "expire_after_s", "latency",
    "autostart", "target_fps", "every_nth", "queue_size", "stale_after_s", "loop", "region",
    "transport", "start_frame", "max_frames", "score_threshold", "max_reconnect_s", "cursor",
    "max_results", "timeout_s", "output_prob_thresh", "frame", "pts_s", "coding", "is_last",
    "propagation_direction", "start_frame_index", "max_frame_num_to_track", "rel_coordinates",
]  # fmt: skip
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=8),
    st.sampled_from(["s", "clip.mp4", "rtsp://bob:hunter2@cam/x", "pushed://", "live", "both"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
REQUESTS = st.builds(
    lambda kind, fields, extra: {**extra, **fields, "type": kind},
    st.one_of(st.sampled_from(TYPES), SCALARS),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8),
    st.dictionaries(st.one_of(st.text(max_size=8), st.integers()), VALUES, max_size=2),
)
OPTIONS = st.dictionaries(st.sampled_from(sorted(SessionOptions.model_fields)), VALUES, max_size=6)


def check_request(request: dict[Any, Any]) -> bool:
    """It is taken or refused, and shows no password; whether it was taken."""
    try:
        found = parse_request(request)
    except RequestError as refusal:
        check_faults(refusal)
        return False
    assert "hunter2" not in repr(found)
    assert found.type == request["type"]
    return True


def check_faults(refusal: RequestError) -> None:
    """It names what is wrong, not without end, and without the password of our examples."""
    assert "hunter2" not in repr(refusal)
    assert 1 <= len(refusal.faults) <= MAX_FAULTS + 1
    assert all(fault and len(fault) < 1000 for fault in refusal.faults)


def check_options(options: dict[str, Any]) -> bool:
    """What a request may say is stored as it is, and a source can do it; whether it was taken."""
    request = {"type": "start_session", "resource_path": "rtsp://cam/x", **options}
    try:
        parsed = parse_request(request)
    except RequestError:
        return False
    assert isinstance(parsed, StartSession)
    stored = parsed.options.to_stored()
    assert SessionOptions.from_stored(stored) == parsed.options
    parsed.options.to_live_config()
    return True
