"""The types of the options' values, as ``argparse`` takes them."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path


def address(value: str) -> str:
    """An address such as ``s3://bucket/index``, or a path, which is made absolute."""
    return value if "://" in value else str(Path(value).absolute())


def count(value: str) -> int:
    """A whole number, 0 or more."""
    if not value.isdecimal():
        raise ArgumentTypeError(f"{value!r} is not a whole number, 0 or more")
    return int(value)


def positive(value: str) -> int:
    """A whole number, 1 or more."""
    if not value.isdecimal() or int(value) == 0:
        raise ArgumentTypeError(f"{value!r} is not a whole number, 1 or more")
    return int(value)


def positive_number(value: str) -> float:
    """A number above 0."""
    number = _float(value)
    if not 0 < number < 1e9:
        raise ArgumentTypeError(f"{value!r} is not a number above 0")
    return number


def non_negative_number(value: str) -> float:
    """A number, 0 or more."""
    number = _float(value)
    if not 0 <= number < 1e9:
        raise ArgumentTypeError(f"{value!r} is not a number, 0 or more")
    return number


def probability(value: str) -> float:
    """A number from 0 to 1."""
    number = _float(value)
    if not 0 <= number <= 1:
        raise ArgumentTypeError(f"{value!r} is not a number from 0 to 1")
    return number


def rate(value: str) -> float:
    """Frames per second, up to 1000."""
    number = _float(value)
    if not 0 < number <= 1000:
        raise ArgumentTypeError(f"{value!r} is not a number of frames per second, up to 1000")
    return number


def _float(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ArgumentTypeError(f"{value!r} is not a number") from None
