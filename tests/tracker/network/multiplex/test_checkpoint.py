"""Checkpoints of SAM 3.1: the official file, strictly, and folders of our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from maskstream.core.checkpoint import convert_checkpoint, read_config
from maskstream.core.checkpoint_summary import inspect_checkpoint
from maskstream.core.errors import CheckpointError, ConfigError
from maskstream.core.official import open_official, release_of
from maskstream.core.official_table import How
from maskstream.core.official_table_multiplex import multiplex_tensors
from maskstream.detector.config import DetectorConfig
from maskstream.pipeline.video.model import VideoModel
from maskstream.tracker.build import load_tracker
from maskstream.tracker.network.multiplex.config import MultiplexConfig
from maskstream.tracker.network.multiplex.model import MultiplexModel
from tests.tracker.network.multiplex.small import small_folder


@pytest.fixture
def skeleton() -> dict[str, Tensor]:
    """All official tensors at full shape, each standing on a single number."""
    return {entry.name: torch.zeros(1).expand(entry.shape) for entry in multiplex_tensors()}


def save(tensors: dict[str, Any], folder: Path) -> Path:
    path = folder / "sam3.1_multiplex.pt"
    torch.save({"model": tensors}, path)
    return path


def test_the_official_file_is_known_by_its_tensors(
    skeleton: dict[str, Tensor], tmp_path: Path
) -> None:
    path = save(skeleton, tmp_path)
    assert release_of(path) == "sam3.1"
    config = read_config(path)
    assert MultiplexConfig.from_dict(config["tracker_config"]) == MultiplexConfig()
    assert DetectorConfig.from_dict(config["detector_config"]).interactive_neck
    with torch.device("meta"):
        model = MultiplexModel(MultiplexConfig())
    summary = inspect_checkpoint(path)
    # The model has everything of the file but its rotary tables and the class token's position.
    assert summary.num_parameters == 873_186_028 - 1024
    ours = sum(x.numel() for x in model.state_dict().values())
    tracker = sum(p.num_parameters for p in summary.parts if p.name.startswith("tracker_model"))
    assert tracker == ours == 19_629_494


def test_only_rotary_tables_may_lack(skeleton: dict[str, Tensor], tmp_path: Path) -> None:
    spare = [entry.name for entry in multiplex_tensors() if entry.how is How.DROP]
    assert len(spare) == 32
    for name in spare[::2]:
        del skeleton[name]
    open_official(save(skeleton, tmp_path))
    del skeleton["tracker.model.no_obj_ptr_linear.bias"]
    skeleton["tracker.model.sam_mask_decoder.iou_token.weight"] = torch.zeros(1, 256)
    skeleton["tracker.model.what"] = torch.zeros(1)
    with pytest.raises(CheckpointError) as error:
        open_official(save(skeleton, tmp_path))
    for part in ("SAM 3.1", "no_obj_ptr_linear.bias", "1×256", "16×256", "tracker.model.what"):
        assert part in str(error.value)


def test_old_first_parts_of_names_are_understood(
    skeleton: dict[str, Tensor], tmp_path: Path
) -> None:
    old = {
        name.replace("detector.", "sam3_model.", 1)
        if name.startswith("detector.")
        else name.replace("tracker.", "sam2_predictor.", 1): tensor
        for name, tensor in skeleton.items()
    }
    assert release_of(save(old, tmp_path)) == "sam3.1"
    assert set(open_official(save(old, tmp_path))) == set(skeleton)


def test_a_folder_loads_again_bit_for_bit(tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "small")
    assert read_config(folder)["model_type"] == "sam3_multiplex_video"
    model = VideoModel.from_checkpoint(folder, device="cpu")
    assert isinstance(model.tracker, MultiplexModel)
    assert model.detector.interactive_neck is not None
    again = VideoModel.from_checkpoint(
        convert_checkpoint(folder, tmp_path / "again"),
        device="cpu",
    )
    for one, other in ((model.tracker, again.tracker), (model.detector, again.detector)):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name
    assert again.to_config() == model.to_config()
    assert "interactive_neck" in {part.name for part in inspect_checkpoint(folder).parts}


def test_a_folder_of_the_other_network_is_refused(tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "small")
    path = folder / "config.json"
    path.write_text(path.read_text().replace("sam3_multiplex_tracker", "sam3_tracker_video"))
    with pytest.raises(ConfigError, match="unknown keys"):
        load_tracker(folder)
