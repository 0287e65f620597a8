"""What is measured side by side: a frame with many concepts, a frame with many masklets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks import reference as theirs
from benchmarks.flops import concept_flops, floor, image_flops, masklet_flops
from benchmarks.measure import side_by_side, speed_up, timing
from benchmarks.scenes import Scene, disc_masks
from maskstream.core.types import Detections
from maskstream.detector.concepts import ConceptEncoder
from maskstream.detector.preprocess import to_pixels
from maskstream.pipeline.video.model import VideoModel
from maskstream.tracker.video_tracker import VideoTracker

FULL_BANK_FRAMES = 17
"""Frames after which a masklet has all the memory maps and pointers it will ever look at."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all sections share.

    Attributes:
        tflop_per_s: rate that the arithmetic floor is reckoned with.
    """

    model: VideoModel
    reference: Any
    scene: Scene
    tflop_per_s: float
    num_rounds: int

    @property
    def side(self) -> int:
        """Side of the model's input, pixels."""
        return self.model.detector.config.image_size


def _row(
    bench: Bench, what: dict[str, Any], times: dict[str, list[tuple[float, float]]], flops: int
) -> dict[str, Any]:
    ours, other = timing(times["maskstream"]), timing(times["transformers"])
    wall, cpu = speed_up(times["transformers"], times["maskstream"])
    least = floor(flops, bench.tflop_per_s)
    return {
        **what,
        "transformers_ms": round(other.wall_ms, 1),
        "maskstream_ms": round(ours.wall_ms, 1),
        "times_faster": round(wall, 2),
        "times_less_processor": round(cpu, 2),
        "gflop": round(least.gflop, 1),
        "floor_ms": round(least.floor_ms, 2),
    }


def frames(bench: Bench, counts: list[int]) -> Iterator[dict[str, Any]]:
    """One frame with so many concepts: both neck branches, detection, suppression, masks.

    Texts are encoded beforehand on both sides, as in a video. A concept that is absent costs
    transformers what a present one does; here its masks are never made.
    """
    model, detector = bench.model, bench.model.detector
    pixels = to_pixels([bench.scene.picture(0)], bench.side, model.device, model.dtype)
    texts = ConceptEncoder(detector, detector.tokenizer)
    for count in counts:
        for num_present in sorted({0, -(-count // 4), count}):
            names = bench.scene.texts(count, num_present)
            batch = texts.batch(names)
            ids = torch.arange(count, device=model.device)
            session = theirs.start_session(bench.reference, model, names, (bench.side, bench.side))

            def ours(batch: Any = batch, ids: Any = ids) -> Detections:
                features = detector.encode_image(pixels, tracker=True)
                return detector.detect(
                    features,
                    batch,
                    ids,
                    score_threshold=model.config.score_threshold_detection,
                    nms_iou=model.config.det_nms_thresh,
                )[0]

            def other(session: Any = session) -> Any:
                return theirs.detect(bench.reference, session, pixels)

            times = side_by_side(
                {"transformers": other, "maskstream": ours},
                model.device,
                num_rounds=bench.num_rounds,
            )
            found = ours()
            tokens = batch.text.tokens.shape[1]
            seen = int(found.prompt_ids.unique().numel())
            flops = image_flops(detector.config)
            flops += seen * concept_flops(detector.config, tokens, masks=True)
            flops += (count - seen) * concept_flops(detector.config, tokens, masks=False)
            what = {"concepts": count, "in the picture": num_present, "detections": len(found)}
            yield _row(bench, what, times, flops)


def tracking(bench: Bench, counts: list[int]) -> Iterator[dict[str, Any]]:
    """One frame of so many masklets with full banks, vision features given.

    Both sides run their whole loop behind the detector, which finds nothing: memory attention,
    mask decoder, cleaning, suppression, memory encoder.
    """
    model = bench.model
    pixels = to_pixels([bench.scene.picture(0)], bench.side, model.device, model.dtype)
    features = model.detector.encode_image(pixels, tracker=True).tracker_features(0)
    size = model.tracker.mask_size
    nothing = Detections.empty(size, model.device)
    # Nothing is detected, so that hot start would withdraw all of them.
    config = replace(model.config, hotstart_delay=0)
    for count in counts:
        masks = disc_masks(count, size).to(model.device)
        other = theirs.TrackingOnly(bench.reference, model, pixels)
        other.start(masks.to(model.dtype))
        tracker = VideoTracker(model.tracker, config)
        found = Detections(
            prompt_ids=torch.zeros(count, dtype=torch.int64, device=model.device),
            scores=torch.full((count,), 0.95, device=model.device),
            boxes=torch.zeros(count, 4, device=model.device),
            masks=masks,
        )
        tracker.step(0, features, found)
        frame_index = 0

        def ours(tracker: VideoTracker = tracker) -> None:
            nonlocal frame_index
            frame_index += 1
            tracker.step(frame_index, features, nothing)

        times = side_by_side(
            {"transformers": other.step, "maskstream": ours},
            model.device,
            num_rounds=bench.num_rounds,
            num_warm_up=FULL_BANK_FRAMES,
        )
        kept = {len(tracker.masklets), other.num_masklets}
        other.restore()
        if kept != {count}:
            raise RuntimeError(f"{count} masklets were started and {sorted(kept)} are followed")
        flops = count * masklet_flops(theirs.tracker_of(model).config)
        yield _row(bench, {"masklets": count}, times, flops)
