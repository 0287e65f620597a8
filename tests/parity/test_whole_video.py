"""From pictures to masks: our segmenter and transformers' ``Sam3VideoModel`` on the bundled clip.

Nothing is played back here: both have the embedded weights and see the same pixels, and everything
from the ViT to the masks of lasting identities is each one's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Sam3VideoInferenceSession

from benchmarks.reference import build_reference
from maskstream.core.types import Detections
from maskstream.detector.frames import FrameDetector
from maskstream.detector.preprocess import to_pixels
from maskstream.detector.tokenizer import Tokenizer
from maskstream.pipeline.sources import Frame, open_source
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.video.tracking import SessionTracking, detection_rules
from maskstream.tracker.lifecycle import MaskletState
from maskstream.tracker.tracked_frame import TrackedFrame
from tests.parity.reference import transformers_sam3

# Half a minute on two idle cores.
pytestmark = pytest.mark.timeout(900)

CLIP = Path(str(resources.files("maskstream.pipeline") / "assets" / "demo.mp4"))
NUM_FRAMES = 42
TEXTS = ("dog face", "足球", "blue star")
MIN_IOU = 0.999
SWITCHED_OFF: dict[str, Any] = {
    # What transformers does with optional kernels alone, what it does not do, and its way with new
    # objects.
    "det_nms_thresh": 0.0,
    "fill_hole_area": 0,
    "reencode_memory_on_new_objects": True,
    "reidentify_within": 0,
}


@dataclass(frozen=True, slots=True)
class ReferenceFrame:
    """What transformers says about a frame.

    Attributes:
        obj_ids: identities.
        prompt_ids: concept of each.
        masks: (4h, 4w) logits by identity.
        suppressed: identities hidden on this frame.
    """

    obj_ids: list[int]
    prompt_ids: list[int]
    masks: dict[int, Tensor]
    suppressed: set[int]


@dataclass(slots=True)
class Run:
    """The clip, twice.

    Attributes:
        detections: ours, of every frame.
        ours: frames of our tracker.
        theirs: frames of transformers.
        seen: what transformers' detector found, by concept, of every frame.
    """

    detections: list[Detections] = field(default_factory=list)
    ours: list[TrackedFrame] = field(default_factory=list)
    theirs: list[ReferenceFrame] = field(default_factory=list)
    seen: list[dict[int, dict[str, Tensor]]] = field(default_factory=list)


@pytest.fixture(scope="module")
def run() -> Run:
    model = VideoModel.from_checkpoint("tiny", device="cpu")
    model = replace(model, config=replace(model.config, **SWITCHED_OFF))
    with open_source(CLIP) as source:
        frames = list(islice(source, NUM_FRAMES))
    result = Run()
    for found, tracked in play(model, frames):
        result.detections.append(found)
        result.ours.append(tracked)

    transformers_sam3()
    reference = build_reference(model)
    own = reference.run_detection

    def run_detection(*arguments: Any, **named: Any) -> dict[int, dict[str, Tensor]]:
        result.seen.append(own(*arguments, **named))
        return result.seen[-1]

    reference.run_detection = run_detection
    session = reference_session(model.detector.tokenizer, frames, model.detector.config.image_size)
    with torch.inference_mode():
        for frame in frames:
            out = reference(inference_session=session, frame_idx=frame.index)
            result.theirs.append(
                ReferenceFrame(
                    obj_ids=list(out.object_ids),
                    prompt_ids=[session.obj_id_to_prompt_id[i] for i in out.object_ids],
                    masks={i: mask.squeeze().clone() for i, mask in out.obj_id_to_mask.items()},
                    suppressed=set(out.suppressed_obj_ids),
                )
            )
    return result


def play(model: VideoModel, frames: list[Frame]) -> Iterator[tuple[Detections, TrackedFrame]]:
    """What a segmenter does with each frame, up to where masks leave the model's grid."""
    detector = FrameDetector(model.detector)
    rules = detection_rules(model.config, None)
    tracking = SessionTracking(model.tracker, model.config, latency="live")
    for text in TEXTS:
        tracking.add_concept(text)
    for frame in frames:
        features = detector.encode([frame.image])
        found = detector.detect(features, tracking.concepts, rules)
        tracked = tracking.tracker.step(frame.index, features.tracker_features(0), found)
        yield found, tracked


def reference_session(tokenizer: Tokenizer, frames: list[Frame], side: int) -> Any:
    """A session of transformers that has the whole video: a stream's would skip the hot start."""
    pixels = to_pixels([frame.image for frame in frames], side)
    session = Sam3VideoInferenceSession(
        video=pixels, video_height=side, video_width=side, dtype=torch.float32
    )
    for index, text in enumerate(TEXTS):
        ids, mask = tokenizer.encode([text], 32)
        session.prompts[index] = text
        session.prompt_input_ids[index] = ids
        session.prompt_attention_masks[index] = mask.long()
    return session


def iou(ours: Tensor, theirs: Tensor) -> float:
    union = int((ours | theirs).sum())
    return 1.0 if union == 0 else int((ours & theirs).sum()) / union


def test_the_same_is_detected(run: Run) -> None:
    assert len(run.detections) == len(run.seen) == NUM_FRAMES
    for ours, theirs in zip(run.detections, run.seen, strict=True):
        for prompt_id in range(len(TEXTS)):
            mine = ours.prompt_ids == prompt_id
            torch.testing.assert_close(
                ours.scores[mine], theirs[prompt_id]["scores"], atol=1e-4, rtol=0
            )
            for mask, other in zip(ours.masks[mine], theirs[prompt_id]["mask"], strict=True):
                assert iou(mask > 0, other > 0) >= MIN_IOU
    assert sum(len(found) for found in run.detections) > NUM_FRAMES


def test_the_same_objects(run: Run) -> None:
    for ours, theirs in zip(run.ours, run.theirs, strict=True):
        assert ours.obj_ids == theirs.obj_ids
        assert ours.prompt_ids == theirs.prompt_ids
        hidden = {
            obj_id
            for obj_id, state in zip(ours.obj_ids, ours.states, strict=True)
            if state is MaskletState.SUPPRESSED
        }
        assert hidden == theirs.suppressed


def test_the_same_masks(run: Run) -> None:
    for ours, theirs in zip(run.ours, run.theirs, strict=True):
        for obj_id, state, mask in zip(ours.obj_ids, ours.states, ours.low_res_masks, strict=True):
            if state is not MaskletState.SUPPRESSED:
                overlap = iou(mask > 0, theirs.masks[obj_id] > 0)
                assert overlap >= MIN_IOU, (ours.frame_index, obj_id)


def test_enough_happens(run: Run) -> None:
    """Every concept is there, objects come later, are reconditioned, and vanish."""
    assert {i for frame in run.ours for i in frame.prompt_ids} == set(range(len(TEXTS)))
    assert len(run.ours[-1].obj_ids) > len(run.ours[0].obj_ids) > 1
    assert sum(frame.frame_stats.num_reconditioned for frame in run.ours) > 10
    assert any(MaskletState.SUPPRESSED in frame.states for frame in run.ours)
