"""What is fuzzed: examples, and what must hold of each."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from maskstream.core.errors import ImageError, RequestError
from maskstream.pipeline.api.commands import _MODELS, AddConcept, AddObject, parse_command
from maskstream.pipeline.api.frame_codec import CODINGS, decode_frame, encode_frame, wrap_picture
from maskstream.pipeline.store import open_store
from tests.fuzz.records import DAMAGES, DamagedStore
from tests.pipeline.hostile import FIELDS, OPTIONS, REQUESTS, VALUES, check_options, check_request

Answer = Literal["taken", "refused"]


@dataclass(frozen=True)
class Target:
    """Something that strangers reach.

    Attributes:
        examples: what they may send or write.
        check: whether an example was taken or refused; raises if it was neither.
    """

    name: str
    examples: st.SearchStrategy[Any]
    check: Callable[[Any], Answer]


@contextlib.contextmanager
def targets() -> Iterator[list[Target]]:
    """All of them; the store is open as long as the context."""
    with contextlib.closing(open_store()) as store:
        yield [
            Target(
                "requests",
                st.one_of(NEARLY_GOOD, REQUESTS),
                lambda one: _answer(check_request(one)),
            ),
            Target("options of a session", OPTIONS, lambda one: _answer(check_options(one))),
            Target("journal entries", COMMANDS, check_command),
            Target("pushed frames", FRAMES, check_frame),
            Target("store records", DAMAGES, lambda one: _answer(DamagedStore(store).check(one))),
        ]


def _answer(taken: bool) -> Answer:
    return "taken" if taken else "refused"


# Requests of clients: good ones, of which some fields are replaced, and any others.

_ONE = {"session_id": "s"}
_GOOD: list[dict[str, Any]] = [
    {"type": "start_session", "resource_path": "rtsp://bob:hunter2@cam/x", "latency": "live"},
    {"type": "start_session", "resource_path": "clip.mp4", "autostart": True, "target_fps": 5},
    {"type": "add_prompt", **_ONE, "frame_index": 0, "text": "ball"},
    {"type": "add_prompt", **_ONE, "frame_index": 0, "bounding_boxes": [[0.1, 0.2, 0.3, 0.4]]},
    {"type": "add_prompt", **_ONE, "frame_index": 0, "obj_id": 1, "points": [[0.5, 0.5]]},
    {"type": "propagate_in_video", **_ONE, "propagation_direction": "forward"},
    {"type": "stream_results", **_ONE, "cursor": 3},
    {"type": "get_results", **_ONE, "max_results": 5, "timeout_s": 0.5},
    {"type": "push_frame", **_ONE, "frame": b"\xff\xd8", "pts_s": 1.5},
    {"type": "remove_object", **_ONE, "obj_id": 1},
    {"type": "list_sessions", "owner": "ann"},
]
NEARLY_GOOD = st.builds(
    lambda good, changes: {**good, **changes},
    st.sampled_from(_GOOD),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=2),
)

# Entries of a journal: a kind and a payload.

_FIELDS = sorted({name for model in _MODELS.values() for name in model.model_fields})
_PLACES = st.floats(-0.5, 1.5)
_PLAUSIBLE = st.one_of(
    VALUES,
    st.integers(-1, 3),
    st.lists(st.tuples(_PLACES, _PLACES).map(list), max_size=3),
    st.lists(st.tuples(_PLACES, _PLACES, _PLACES, _PLACES).map(list), max_size=2),
    st.lists(st.integers(0, 1), max_size=3),
    st.fixed_dictionaries({"size": st.just([4, 4]), "counts": st.text("0123abP", max_size=6)}),
    st.sampled_from(["ball", "both", "forward"]),
)
COMMANDS = st.tuples(
    st.one_of(st.sampled_from(sorted(_MODELS)), st.text(max_size=8)),
    st.dictionaries(
        st.one_of(st.sampled_from(_FIELDS), st.text(max_size=6)), _PLAUSIBLE, max_size=4
    ),
)


def check_command(example: tuple[str, dict[str, Any]]) -> Answer:
    """It is a command that reads back as itself, or a RequestError names what is wrong."""
    kind, payload = example
    try:
        command = parse_command(kind, payload)
    except RequestError as refusal:
        check_reasons(refusal)
        return "refused"
    assert parse_command(kind, command.to_payload()) == command
    if isinstance(command, AddConcept | AddObject):
        # Pixels may lie outside of a frame that the client did not know the size of.
        with contextlib.suppress(RequestError):
            command.at(320, 240)
    return "taken"


def check_reasons(refusal: RequestError) -> None:
    """There are some, and each says something."""
    assert refusal.faults
    assert all(refusal.faults)


# Frames that clients push: pictures in bytes, and what the store gives back.

_PICTURE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
_HEADER_BYTES = 13
_BLOBS = [encode_frame(_PICTURE, coding) for coding in CODINGS]


def _damaged(blob: bytes, junk: bytes, place: int, length: int) -> bytes:
    place %= len(blob)
    return (blob[:place] + junk + blob[place + len(junk) :])[:length]


FRAMES = st.one_of(
    st.binary(max_size=64),
    st.builds(
        _damaged,
        st.sampled_from(_BLOBS),
        st.binary(max_size=16),
        st.integers(0, 2000),
        st.integers(0, 2000),
    ),
)


def check_frame(blob: bytes) -> Answer:
    """It is a picture, or an ImageError; that holds for what is stored, and for what is sent."""
    with contextlib.suppress(ImageError):
        wrap_picture(blob[_HEADER_BYTES:])
    try:
        image = decode_frame(blob)
    except ImageError:
        return "refused"
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    return "taken"
