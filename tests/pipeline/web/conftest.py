"""One service for all tests of a file, unless they start their own."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.pipeline.web.stack import Stack, web_stack


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with web_stack() as stack:
        yield stack


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx.Client]:
    with stack.http() as client:
        yield client
