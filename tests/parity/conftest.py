from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parity.reference import CONFIGS, Pair, build_pair


@pytest.fixture(scope="module", params=list(CONFIGS))
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Both models with one set of weights, at every small configuration."""
    yield build_pair(CONFIGS[request.param], seed=7)
