"""Records as JSON: copying and writing come to the same."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskstream.core.errors import InputError
from maskstream.pipeline.store.codec import json_copy, to_json


class Colour(StrEnum):
    RED = "red"


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(st.dictionaries(st.text(), VALUES))
def test_a_copy_is_what_json_gives_back_and_takes_no_more_than_is_told(
    value: dict[str, Any],
) -> None:
    text = to_json(value, "value")
    copy, num_bytes = json_copy(value, "value")
    assert copy == json.loads(text)
    assert repr(copy) == repr(json.loads(text))  # 1, 1.0 and True are equal
    assert num_bytes >= len(text)


@pytest.mark.parametrize("text", ["👍" * 50, "\0" * 50, "\ud800" * 50, '"\\' * 50])
def test_texts_that_grow_in_json(text: str) -> None:
    for value in ({text: 1}, {"a": text}, {"a": [text, {text: text}]}):
        assert json_copy(value, "value")[1] >= len(to_json(value, "value"))


def test_a_copy_shares_nothing_that_can_change() -> None:
    value: dict[str, Any] = {"list": [1, [2]], "mapping": {"a": {"b": 3}}}
    copy, _ = json_copy(value, "value")
    value["list"][1].append(4)
    value["mapping"]["a"]["b"] = 5
    assert copy == {"list": [1, [2]], "mapping": {"a": {"b": 3}}}


@pytest.mark.parametrize(
    ("value", "given_back"),
    [
        ({"a": (1, (2,))}, {"a": [1, [2]]}),
        ({"a": {7: 2, None: 3, True: 4}}, {"a": {"7": 2, "null": 3, "true": 4}}),
        ({"a": Colour.RED, Colour.RED: 1}, {"a": "red", "red": 1}),
        ({"a": np.float64(0.5)}, {"a": 0.5}),
        ({"a": 10**400}, {"a": 10**400}),
    ],
)
def test_what_json_changes_is_changed(value: dict[str, Any], given_back: dict[str, Any]) -> None:
    copy, num_bytes = json_copy(value, "value")
    assert repr(copy) == repr(given_back)
    assert num_bytes == len(to_json(value, "value"))


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("-inf"), {1}, b"x", object(), np.int64(1), [[np.nan]], nested(100_000)],
    ids=["nan", "inf", "set", "bytes", "object", "numpy", "nan inside", "deep"],
)
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="a prompt holds a value that is not JSON"):
        json_copy({"value": value}, "a prompt")
