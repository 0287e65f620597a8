"""Tracking on SAM 3.0's and SAM 3.1's networks side by side: so many objects, the same features.

Both run the whole loop behind the detector, which finds nothing, with memories that are full.
Weights are random: what is computed does not depend on them. Run it as
``python -m benchmarks.multiplex``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.flops import bucket_flops, masklet_flops
from benchmarks.measure import side_by_side, speed_up, surroundings, timing
from benchmarks.scenes import disc_masks
from maskstream.core.checkpoint import read_config, resolve_checkpoint
from maskstream.core.types import Detections, TrackerFeatures
from maskstream.tracker.config import MaskDecoderConfig, PromptEncoderConfig, TrackerConfig
from maskstream.tracker.network.frame_bank import FrameBank
from maskstream.tracker.network.model import TrackerModel
from maskstream.tracker.network.multiplex.config import MultiplexConfig
from maskstream.tracker.network.multiplex.memories import MultiplexMemories
from maskstream.tracker.network.multiplex.model import MultiplexModel
from maskstream.tracker.network.object_memories import ObjectMemories
from maskstream.tracker.video_config import VideoConfig
from maskstream.tracker.video_tracker import VideoTracker

FULL_BANK_FRAMES = 17
"""Frames after which there are all the maps and pointers that are ever looked at."""

OUTPUT = Path(__file__).parent / "output"


def full_width(grid: int) -> tuple[TrackerConfig, MultiplexConfig]:
    """The released networks on a grid of so many cells a side."""
    side = 14 * grid
    prompt = PromptEncoderConfig(image_size=side)
    return (
        TrackerConfig(image_size=side, prompt_encoder_config=prompt),
        MultiplexConfig(image_size=side, prompt_encoder_config=prompt),
    )


def tiny() -> tuple[TrackerConfig, MultiplexConfig]:
    """The embedded tracker, and a SAM 3.1 of its widths."""
    config = TrackerConfig.from_dict(read_config(resolve_checkpoint("tiny"))["tracker_config"])
    return config, MultiplexConfig(
        image_size=config.image_size,
        patch_size=config.patch_size,
        fpn_hidden_size=config.fpn_hidden_size,
        prompt_encoder_config=config.prompt_encoder_config,
        mask_decoder_config=MaskDecoderConfig(
            **{
                name: getattr(config.mask_decoder_config, name)
                for name in MaskDecoderConfig.__dataclass_fields__
            }
        ),
        memory_attention_num_layers=config.memory_attention_num_layers,
        memory_attention_num_attention_heads=4,
        memory_attention_feed_forward_hidden_size=config.memory_attention_feed_forward_hidden_size,
        mask_downsampler_channels=4,
        memory_fuser_num_layers=config.memory_fuser_num_layers,
        memory_fuser_intermediate_dim=config.memory_fuser_intermediate_dim,
    )


@torch.no_grad()
def sure(model: TrackerModel | MultiplexModel) -> None:
    """Objects are always there, so that all of them are followed to the end."""
    head = model.mask_decoder.pred_obj_score_head.proj_out
    head.weight.zero_()
    head.bias.fill_(3.0)


def random_features(config: MultiplexConfig, device: torch.device) -> TrackerFeatures:
    """Features of one frame for both networks."""
    grid, generator = config.grid[0], torch.Generator().manual_seed(0)

    def branch() -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = (
            torch.randn(1, config.fpn_hidden_size, n * grid, n * grid, generator=generator)
            for n in (4, 2, 1)
        )
        return fine.to(device), middle.to(device), coarse.to(device)

    return TrackerFeatures(branch(), branch())


def start(network: Any, features: TrackerFeatures, count: int) -> VideoTracker:
    """A tracker that follows so many objects."""
    config = VideoConfig(hotstart_delay=0, fill_hole_area=0, max_num_objects=max(count, 1))
    tracker = VideoTracker(network, config)
    device = network.device
    found = Detections(
        prompt_ids=torch.zeros(count, dtype=torch.int64, device=device),
        scores=torch.full((count,), 0.95, device=device),
        boxes=torch.full((count, 4), 0.5, device=device),
        masks=disc_masks(count, network.mask_size).to(device),
    )
    tracker.step(0, features, found)
    return tracker


def bytes_of_a_map(memories: object, count: int) -> float:
    """Bytes that the maps of one frame take, for each object."""
    bank = getattr(memories, "bank", None)
    if not isinstance(bank, FrameBank) or not isinstance(
        memories, ObjectMemories | MultiplexMemories
    ):
        raise TypeError(f"no memories that are known here: {type(memories).__name__}")
    per_row = bank.map_bytes
    if isinstance(memories, ObjectMemories):
        return float(per_row)
    return (memories.states.num_buckets + 1) * per_row / count


def measure(
    sizes: dict[str, tuple[TrackerConfig, MultiplexConfig]],
    counts: list[int],
    device: torch.device,
    dtype: torch.dtype,
    num_rounds: int,
) -> list[dict[str, Any]]:
    """A row for each size and number of objects."""
    rows = []
    for size, (single_config, multiplex_config) in sizes.items():
        torch.manual_seed(0)
        single = TrackerModel(single_config).eval().to(device, dtype)
        multiplex = MultiplexModel(multiplex_config).eval().to(device, dtype)
        sure(single)
        sure(multiplex)
        features = random_features(multiplex_config, device)
        features = TrackerFeatures(
            tuple(level.to(dtype) for level in features.levels),  # type: ignore[arg-type]
            tuple(level.to(dtype) for level in features.interactive or ()),  # type: ignore[arg-type]
        )
        for count in counts:
            trackers = {
                "3.0": start(single, features, count),
                "3.1": start(multiplex, features, count),
            }
            nothing = Detections.empty(single.mask_size, device)
            at = dict.fromkeys(trackers, 0)

            def step(
                name: str,
                at: dict[str, int] = at,
                trackers: dict[str, VideoTracker] = trackers,
                features: TrackerFeatures = features,
                nothing: Detections = nothing,
            ) -> None:
                at[name] += 1
                trackers[name].step(at[name], features, nothing)

            times = side_by_side(
                {"3.0": lambda step=step: step("3.0"), "3.1": lambda step=step: step("3.1")},  # type: ignore[misc]
                device,
                num_rounds=num_rounds,
                num_warm_up=FULL_BANK_FRAMES,
            )
            if any(len(tracker.masklets) != count for tracker in trackers.values()):
                raise RuntimeError(f"not all of {count} objects are followed to the end")
            wall, cpu = speed_up(times["3.0"], times["3.1"])
            one, other = timing(times["3.0"]), timing(times["3.1"])
            buckets = -(-count // multiplex_config.num_slots)
            kept = {
                name: bytes_of_a_map(tracker._store.memories, count) / 1e3
                for name, tracker in trackers.items()
            }
            row = {
                "size": size,
                "objects": count,
                "3.0_ms": round(one.wall_ms, 1),
                "3.1_ms": round(other.wall_ms, 1),
                "3.0_cpu_ms": round(one.cpu_ms, 1),
                "3.1_cpu_ms": round(other.cpu_ms, 1),
                "times_faster": round(wall, 2),
                "times_less_processor": round(cpu, 2),
                "3.0_gflop": round(count * masklet_flops(single_config) / 1e9, 1),
                "3.1_gflop": round(buckets * bucket_flops(multiplex_config) / 1e9, 1),
                "3.0_map_kb": round(kept["3.0"], 1),
                "3.1_map_kb": round(kept["3.1"], 1),
            }
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    names = list(rows[0])
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join(str(row[name]) for name in names) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    """Measure, print and save."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.multiplex")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", help="float32 on the CPU, bfloat16 on CUDA unless given")
    parser.add_argument("--grid", type=int, default=16, help="cells a side at full width")
    parser.add_argument("--size", nargs="+", choices=("tiny", "full"), default=["tiny", "full"])
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 4, 16, 64, 128])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=OUTPUT)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    dtype = getattr(torch, given.dtype or ("float32" if device.type == "cpu" else "bfloat16"))
    sizes = {"tiny": tiny(), f"full, {given.grid}×{given.grid} cells": full_width(given.grid)}
    chosen = {name: size for name, size in sizes.items() if name.split(",")[0] in given.size}
    with torch.inference_mode():
        rows = measure(chosen, given.objects, device, dtype, given.rounds)
    results = {**surroundings(device, dtype), "rows": rows}
    facts = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in results.items() if k != "rows")
    given.out.mkdir(parents=True, exist_ok=True)
    stem = f"multiplex-{device.type}"
    (given.out / f"{stem}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (given.out / f"{stem}.md").write_text(f"{facts}\n\n{table(rows)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
