"""Errors survive their way between processes, as text and pickled."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from maskstream.core import errors
from maskstream.core.error_text import error_from_text, error_text
from maskstream.core.errors import (
    InputError,
    MaskstreamError,
    PromptError,
    RequestError,
    SessionError,
    SourceError,
    StoreError,
)

MESSAGES = ["the camera is gone", "a: b; c", "line one\nline two", 'with {"key": 1}', "颜色", ""]
FAULTS = [["text is empty"], ["a: b; c", "points[0] is (2, 2), outside the frame"], [""]]
ENTRY = StoreError("entry 2-0 is not JSON", key="x:journal:s", entry="2-0", resume_after=2)


def tree(kind: type[MaskstreamError] = MaskstreamError) -> Iterator[type[MaskstreamError]]:
    """The classes of ``core/errors.py``."""
    yield kind
    for one in kind.__subclasses__():
        if one.__module__ == errors.__name__:
            yield from tree(one)


def samples() -> Iterator[MaskstreamError]:
    for kind in tree():
        if kind is RequestError:
            yield from (RequestError(faults) for faults in FAULTS)
        else:
            yield from (kind(message) for message in MESSAGES)
    yield ENTRY
    yield StoreError("the last line is\n3", key="k", entry=None)


SAMPLES = list(samples())


def test_every_class_of_the_tree_is_among_the_samples() -> None:
    declared = {one for one in vars(errors).values() if isinstance(one, type)}
    assert {type(one) for one in SAMPLES} == {
        one for one in declared if issubclass(one, MaskstreamError)
    }


@pytest.mark.parametrize("error", SAMPLES, ids=repr)
def test_there_and_back(error: MaskstreamError) -> None:
    text = error_text(error)
    assert text.startswith(f"{type(error).__name__}: ")
    found = error_from_text(text)
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error) | ({"resume_after": None} if error is ENTRY else {})
    assert error_text(found) == text


@pytest.mark.parametrize("error", SAMPLES, ids=repr)
def test_pickled(error: MaskstreamError) -> None:
    found = pickle.loads(pickle.dumps(error))
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert vars(found) == vars(error)


def test_a_fault_is_one_line() -> None:
    error = RequestError(["mask: two\nlines", "text is empty"])
    assert error.faults == ["mask: two lines", "text is empty"]
    assert error_from_text(error_text(error)).args == error.args


def test_a_class_of_elsewhere_becomes_the_nearest_of_the_tree() -> None:
    class LostCameraError(SourceError):
        """Not in the tree."""

    found = error_from_text(error_text(LostCameraError("no picture")))
    assert type(found) is SourceError
    assert str(found) == "no picture"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("finished", SessionError("finished")),
        (
            "an error of the program: KeyError: 3",
            SessionError("an error of the program: KeyError: 3"),
        ),
        ("ValueError: not ours", SessionError("ValueError: not ours")),
        ("InputError", SessionError("InputError")),
        ("PromptError: a: b", PromptError("a: b")),
        (error_text(ENTRY)[:-9], StoreError(error_text(ENTRY)[len("StoreError: ") : -9])),
        ("StoreError: it is\n[1]", StoreError("it is\n[1]")),
        ("StoreError: it is\n{}", StoreError("it is\n{}")),
    ],
)
def test_other_texts(text: str, expected: MaskstreamError) -> None:
    found = error_from_text(text)
    assert type(found) is type(expected)
    assert str(found) == str(expected)
    assert vars(found) == vars(expected)


def test_it_is_caught_as_what_it_was() -> None:
    with pytest.raises(InputError) as caught:
        raise error_from_text("RequestError: text is empty\nnothing is prompted")
    assert isinstance(caught.value, RequestError)
    assert caught.value.faults == ["text is empty", "nothing is prompted"]
