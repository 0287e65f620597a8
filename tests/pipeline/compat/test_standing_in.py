"""Modules called ``sam3`` that stand in for the original's."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import maskstream
from maskstream.core.errors import ConfigError
from maskstream.pipeline.compat import standing_in
from maskstream.pipeline.compat.standing_in import MODULES, ROOT, stand_in


def forget() -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == ROOT or name == "maskstream.as_sam3":
            del sys.modules[name]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    forget()
    yield
    forget()


def test_importing_one_module_is_enough() -> None:
    importlib.import_module("maskstream.as_sam3")
    import sam3

    assert sam3.build_sam3_video_predictor is maskstream.build_sam3_video_predictor
    assert Path(sam3.__file__).is_file()
    for name in MODULES:
        assert importlib.import_module(name) is sys.modules[name]
    from sam3.model.sam3_image_processor import Sam3Processor

    assert Sam3Processor is maskstream.Sam3Processor
    assert sam3.model.sam3_image_processor.Sam3Processor is Sam3Processor
    assert stand_in() is sam3
    with pytest.raises(ModuleNotFoundError, match=r"sam3\.model\.decoder"):
        importlib.import_module("sam3.model.decoder")


def test_an_installed_sam3_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ROOT).mkdir()
    (tmp_path / ROOT / "__init__.py").write_text("REAL = True\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="uninstall it, or import from maskstream"):
        stand_in()
    real = importlib.import_module(ROOT)
    with pytest.raises(ConfigError, match="a package called sam3 is installed"):
        stand_in()
    assert sys.modules[ROOT] is real


def test_a_folder_of_that_name_is_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ROOT / "assets").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    assert stand_in().build_sam3_image_model is maskstream.build_sam3_image_model


def test_what_stands_in_is_all_there_is() -> None:
    """Each module of the table exists, and its parent stands before it."""
    seen = {ROOT}
    for name in MODULES:
        assert name.rpartition(".")[0] in seen
        seen.add(name)
    rooms = Path(standing_in.__file__).parent
    assert all((rooms / f"{own}.py").is_file() for own in MODULES.values() if own)
