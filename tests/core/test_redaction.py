"""Credentials are taken out of every text that is stored or shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskstream.core.redaction import redact, redact_json, redact_url
from maskstream.core.rle import encode_mask


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://bob:secret@cam/x", "rtsp://***@cam/x"),
        ("rtsp://bob:se/cr?e#t@cam/x", "rtsp://***@cam/x"),
        ("rtsp://bob:se@cret@cam/x", "rtsp://***@cam/x"),
        ("rtsp://bob:1234@cam/x", "rtsp://***@cam/x"),
        ("rtsp://:secret@cam:554/x", "rtsp://***@cam:554/x"),
        ("http://cam/x?a=1&access_token=secret&b=2#c", "http://cam/x?a=1&access_token=***&b=2#c"),
        ("http://cam/x?Password=secret", "http://cam/x?Password=***"),
        ("rtsp://bob:12/34@cam", "rtsp://***@cam"),
        ("rtsp://token@cam/x", "rtsp://***@cam/x"),
        ("rtsp:/bob:secret@cam/x", "rtsp:/***@cam/x"),
        ("https://tube/@user/film", "https://tube/@user/film"),
        ("https://cam/a;sid=1#access%5Ftoken=se", "https://cam/a;sid=1#access%5Ftoken=***"),
        # A port or the beginning of a password: nobody can tell.
        ("rtsp://cam:554/a@b", "rtsp://***@b"),
        ("rtsp://cam/stream", "rtsp://cam/stream"),
        ("/films/a@b:c.mp4", "/films/a@b:c.mp4"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    assert redact(f"cannot open '{url}' now") == f"cannot open '{shown}' now"


@pytest.mark.parametrize("password", ["se cret", 'se"cret', "se<cret>", "se'cret", "se\ncret"])
def test_a_source_alone_may_hold_what_ends_a_url_in_a_text(password: str) -> None:
    assert redact_url(f"rtsp://bob:{password}@cam/x") == "rtsp://***@cam/x"


@settings(max_examples=30)
@given(st.text(st.characters(codec="utf-8", exclude_characters="/?#")))
def test_no_user_information_is_left(user_info: str) -> None:
    assert redact_url(f"rtsp://{user_info}@cam/x").endswith("://***@cam/x")


def test_json_values() -> None:
    value = {
        "backup": ["rtsp://bob:secret@cam/x", 3],
        "password": "secret",
        "nested": {"api_key": "secret", "keyframes": "all"},
        "num_tokens": 5,
    }
    assert redact_json(value) == {
        "backup": ["rtsp://***@cam/x", 3],
        "password": "***",
        "nested": {"api_key": "***", "keyframes": "all"},
        "num_tokens": 5,
    }


def test_masks_stay_as_they_are() -> None:
    masks = np.random.default_rng(0).random((50, 60, 80)) > 0.5
    codes = [dict(encode_mask(mask)) for mask in masks]
    assert redact_json(codes) == codes
