"""Programs written for SAM 3, called as they call it. Each runs in modules called ``sam3``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from PIL import Image

from maskstream.pipeline.compat.standing_in import ROOT, stand_in
from tests.pipeline import scene

NUM_FRAMES = 6


@pytest.fixture(autouse=True)
def _stands_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """``sam3`` is there, as after ``import maskstream.as_sam3``, and afterwards it is not."""
    monkeypatch.setenv("MASKSTREAM_CHECKPOINT", "tiny")
    stand_in()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == ROOT]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    """A red circle and a blue square."""
    return Image.fromarray(scene.image(0))


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of them."""
    return scene.write_scene(tmp_path_factory.mktemp("clips") / "scene.mp4", NUM_FRAMES)


@pytest.fixture
def pyplot() -> Iterator[Any]:
    """matplotlib without a screen."""
    plt.switch_backend("Agg")
    yield plt
    plt.close("all")
