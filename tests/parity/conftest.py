from __future__ import annotations

import pytest

from tests.parity.reference import CONFIGS, Pair, build_pair


@pytest.fixture(scope="module", params=list(CONFIGS))
def pair(request: pytest.FixtureRequest) -> Pair:
    """Both models with one set of weights, at every small configuration."""
    return build_pair(CONFIGS[request.param], seed=7)
