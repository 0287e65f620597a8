"""The two wheels, built once from a copy of the sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.environments import build_wheel, copy_sources


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_sources(tmp_path_factory.mktemp("sources"))


@pytest.fixture(scope="session")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """maskstream."""
    return build_wheel(sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def client_wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """maskstream-client."""
    return build_wheel(sources / "packaging" / "client", tmp_path_factory.mktemp("client_wheel"))
