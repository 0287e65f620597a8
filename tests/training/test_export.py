from __future__ import annotations

import filecmp
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoTokenizer, Sam3VideoModel

from maskstream.core.checkpoint import read_config, read_tensors
from maskstream.core.errors import CheckpointError
from maskstream.detector.checkpoint import PREFIXES, to_module
from maskstream.tracker.build import PREFIX as TRACKER_PREFIX
from tests.training.small import small_detector_config, small_tracker_config
from training.export import build_models, export, load_averaged
from training.state import Averaged, parameters_of, save_state
from training.train_tracker import TrackerParts

ROOT = Path(__file__).parents[2]
TINY = ROOT / "configs" / "checkpoints" / "tiny"


def small_yaml(folder: Path) -> Path:
    settings = {
        "low_res_mask_size": 16,
        "detector_config": small_detector_config(vocab_size=658).to_dict(),
        "tracker_config": small_tracker_config().to_dict(),
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def save_run(folder: Path, model: torch.nn.Module) -> None:
    optimizer = torch.optim.AdamW(model.parameters())
    save_state(folder, 1, {"model": model}, optimizer, Averaged.of(model, 0.9))


def test_what_was_trained_is_what_the_folder_holds(tmp_path: Path) -> None:
    path = small_yaml(tmp_path)
    detector, tracker = build_models(yaml.safe_load(path.read_text()))
    with torch.no_grad():
        for parameter in [*detector.parameters(), *tracker.parameters()]:
            parameter.add_(0.125)
    save_run(tmp_path / "detector", detector)
    parts = TrackerParts(tracker, detector.tracker_neck)
    save_run(tmp_path / "tracker", parts)
    folder = export(path, tmp_path / "detector", tmp_path / "tracker", tmp_path / "out")

    stored = to_module(read_tensors(folder, PREFIXES))
    for name, parameter in detector.named_parameters():
        assert torch.equal(stored[name], parameter.half()), name
    tracked = read_tensors(folder, (TRACKER_PREFIX,))
    for name, parameter in tracker.named_parameters():
        assert torch.equal(tracked[TRACKER_PREFIX + name], parameter.half()), name
    assert read_config(folder)["low_res_mask_size"] == 16
    assert (folder / "tokenizer.json").is_file()


def test_a_checkpoint_stands_for_the_runs_that_made_it(tmp_path: Path) -> None:
    path = small_yaml(tmp_path)
    detector, tracker = build_models(yaml.safe_load(path.read_text()))
    save_run(tmp_path / "detector", detector)
    save_run(tmp_path / "tracker", TrackerParts(tracker, detector.tracker_neck))
    folder = export(path, tmp_path / "detector", tmp_path / "tracker", tmp_path / "out")
    parts = parameters_of(folder)
    for run in ("detector", "tracker"):
        made = parameters_of(tmp_path / run)
        assert made.keys() <= parts.keys()
        for name, parameter in made.items():
            assert torch.equal(parts[name], parameter.half().float()), name
    again = export(path, folder, folder, tmp_path / "again")
    assert filecmp.cmp(folder / "model.safetensors", again / "model.safetensors", shallow=False)
    assert parameters_of(folder, prefix="readouts:") == {}


def test_a_run_of_another_model_is_refused(tmp_path: Path) -> None:
    save_run(tmp_path / "run", torch.nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match="missing or misshapen"):
        load_averaged(torch.nn.Linear(3, 2), tmp_path / "run")
    with pytest.raises(CheckpointError, match="neither a run"):
        load_averaged(torch.nn.Linear(3, 2), tmp_path / "nothing")


def test_transformers_takes_the_bundled_checkpoint_whole() -> None:
    assert (TINY / "model.safetensors").stat().st_size <= 16_000_000
    model, report = Sam3VideoModel.from_pretrained(TINY, output_loading_info=True)
    assert model.dtype is torch.float32
    assert not report["missing_keys"]
    assert not report["mismatched_keys"]
    # Exemplar points are ours alone.
    assert all("geometry_encoder.points_" in name for name in report["unexpected_keys"])
    ids = AutoTokenizer.from_pretrained(TINY)("Red  circle")["input_ids"]
    text_config = model.config.detector_config.text_config
    assert max(ids) < text_config.vocab_size
    assert ids[0] == text_config.bos_token_id
    assert ids[-1] == text_config.eos_token_id
