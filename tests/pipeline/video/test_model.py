"""The video model: out of a checkpoint and back into one, here and in transformers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from maskstream.core.errors import CheckpointError, ConfigError, OutputError
from maskstream.detector.tokenizer import FolderTokenizer
from maskstream.pipeline.video.model import VideoModel
from tests.parity.reference import transformers_sam3, video_model_class

TINY = Path(__file__).parents[3] / "configs" / "checkpoints" / "tiny"


def test_the_embedded_checkpoint_is_small_and_whole() -> None:
    assert sum(file.stat().st_size for file in TINY.iterdir()) <= 16 * 2**20
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= {
        file.name for file in TINY.iterdir()
    }


def test_saving_and_loading_changes_nothing(model: VideoModel, tmp_path: Path) -> None:
    tokenizer = {"tokenizer.json": (TINY / "tokenizer.json").read_bytes()}
    folder = model.save(tmp_path / "copy", tokenizer)
    again = VideoModel.from_checkpoint(folder, device="cpu")
    assert again.config == model.config
    assert again.detector.config == model.detector.config
    assert again.tracker.config == model.tracker.config
    tensors = again.to_tensors()
    assert tensors.keys() == model.to_tensors().keys()
    assert all(torch.equal(tensors[name], value) for name, value in model.to_tensors().items())
    with pytest.raises(OutputError, match="exists"):
        model.save(folder)


def test_transformers_reads_the_embedded_checkpoint(model: VideoModel) -> None:
    transformers_sam3()
    loaded, report = video_model_class().from_pretrained(  # type: ignore[attr-defined]
        TINY, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    # What transformers has no place for: points as exemplars of a concept.
    assert all("points_" in name or "masks_pool" in name for name in report["unexpected_keys"])
    ours = model.to_tensors()
    theirs = loaded.state_dict()
    assert set(theirs) <= set(ours)
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())


def test_other_dtypes(model: VideoModel) -> None:
    half = VideoModel.from_checkpoint("tiny", device="cpu", dtype="bfloat16")
    assert half.dtype is torch.bfloat16
    assert half.to_tensors().keys() == model.to_tensors().keys()


def test_the_tokenizer_belongs_to_the_text_encoder(model: VideoModel) -> None:
    config = model.detector.config.text_config
    ids, mask = FolderTokenizer(TINY, config.vocab_size).encode(["red circle", "红色"])
    assert int(ids.max()) < config.vocab_size
    assert ids.shape == (2, config.max_position_embeddings)
    assert bool(mask.any())


@pytest.fixture
def copy_with(tmp_path: Path) -> Callable[[dict[str, torch.Tensor | None]], Path]:
    """Makes a copy of the embedded checkpoint with some tensors changed, added, or left out."""

    def make(changes: dict[str, torch.Tensor | None]) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(TINY, folder)
        tensors = load_file(TINY / "model.safetensors") | changes
        kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
        save_file(kept, folder / "model.safetensors")
        return folder

    return make


ATTENTION = "detector_model.vision_encoder.backbone.layers.2.attention"
NECK = "tracker_neck.fpn_layers.0.proj1.bias"
POINTER = "tracker_model.no_object_pointer"


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({f"{ATTENTION}.k_proj.bias": None}, rf"; 1 missing: {ATTENTION}\.k_proj\.bias$"),
        (
            {f"{ATTENTION}.k_proj.weight": torch.zeros(192, 7)},
            rf"; 1 of the wrong shape: {ATTENTION}\.k_proj\.weight is 192×7 where",
        ),
        (
            {f"{ATTENTION}.k_proj.bias": torch.zeros(7)},
            rf"; 1 of the wrong shape: {ATTENTION}\.k_proj\.bias is 7 where the model has 192$",
        ),
        ({NECK: None}, rf"; 1 missing: {NECK}$"),
        (
            {"detector_model.head.bias": torch.zeros(2)},
            r"; 1 not in the model: detector_model\.head\.bias$",
        ),
        ({POINTER: None}, rf"; 1 missing: {POINTER}$"),
        ({POINTER: torch.zeros(3)}, rf"; 1 of the wrong shape: {POINTER} is 3 where the model"),
        (
            {"tracker_model.head.bias": torch.zeros(2)},
            r"; 1 not in the model: tracker_model\.head\.bias$",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_as_in_the_file(
    copy_with: Callable[[dict[str, torch.Tensor | None]], Path],
    changes: dict[str, torch.Tensor | None],
    complaint: str,
) -> None:
    with pytest.raises(CheckpointError, match=complaint):
        VideoModel.from_checkpoint(copy_with(changes), device="cpu")


def test_what_cannot_be_loaded() -> None:
    with pytest.raises(CheckpointError, match="no checkpoint"):
        VideoModel.from_checkpoint("/no/such/folder")
    with pytest.raises(ConfigError, match="dtype"):
        VideoModel.from_checkpoint("tiny", dtype="int8")
    with pytest.raises(ConfigError, match="device"):
        VideoModel.from_checkpoint("tiny", device="abacus")
