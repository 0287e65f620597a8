from __future__ import annotations

import pytest

from maskstream.detector.build import Sam3ImageModel, build_sam3_image_model


@pytest.fixture(scope="session")
def model() -> Sam3ImageModel:
    """The image half of the embedded model. No test changes it."""
    return build_sam3_image_model(checkpoint_path="tiny", device="cpu")
