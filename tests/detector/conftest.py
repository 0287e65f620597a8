from __future__ import annotations

import pytest

from maskstream.core.checkpoint import resolve_checkpoint
from maskstream.detector.build import Sam3ImageModel, load_detector


@pytest.fixture(scope="session")
def model() -> Sam3ImageModel:
    """The image half of the embedded model. No test changes it."""
    return load_detector(resolve_checkpoint("tiny"))
