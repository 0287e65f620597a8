"""Our video loop against transformers', frame by frame, on the same features and detections.

The detections are scripted: they follow what our tracker showed in the frame before, with misses,
shifts, newcomers, spurious ones and doubles. The reference replays them, and so does ours a second
time, with the reference's memories put in place of its own after every frame.

Why a second time: masks are cut at 0 and memories rounded to bfloat16 before they are used again,
so the last bit of a sum now and then becomes a pixel, and a pixel a slightly different mask. Over a
whole video identities stay the same; masks can only be compared closely from equal memories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoModel

from maskstream.core.types import Detections, TrackerFeatures
from maskstream.tracker.lifecycle import Masklet, MaskletState
from maskstream.tracker.network.model import TrackerModel
from maskstream.tracker.tracked_frame import TrackedFrame
from maskstream.tracker.video_config import VideoConfig
from maskstream.tracker.video_tracker import VideoTracker
from tests.parity.copying_tracker import SIZE, copying_tracker, disc
from tests.parity.reference_loop import ReferenceFrame, new_session, play, reference_loop

# Seconds on an idle machine; many more on one that has other things to do.
pytestmark = pytest.mark.timeout(600)

NUM_FRAMES = 56
VIDEO_SIZE = (480, 480)
MIN_IOU = 0.999
MIN_FRAMES = 40
"""Of the frames, so many have all masks that close over a whole video, whatever the processor. Its
vector units round sums in their own ways, and now and then one of these becomes a pixel."""
ROUNDING = 1e-6
"""Masks are resized in float32: a logit nearer to 0 may fall on either side."""
SCRIPTS = {0: 100, 2: 202}
"""By the seed of the scene, that of its script; in the first all of ``EVENTS`` happen."""
EVENTS = {
    "new",
    "unmatched",
    "duplicate",
    "not the last removed",
    "empty",
    "returned",
    "hidden",
    "gave way",
    "reconditioned",
}
CONFIG = VideoConfig(
    low_res_mask_size=SIZE,
    det_nms_thresh=0.0,
    fill_hole_area=0,
    # Short of breath, so that masklets are hidden within the video.
    suppress_unmatched_only_within_hotstart=False,
    init_trk_keep_alive=6,
    max_trk_keep_alive=8,
    reencode_memory_on_new_objects=True,
)


@dataclass(slots=True)
class Run:
    """One video, three times: ours on its own, the reference, ours with the reference's memory.

    Attributes:
        free: frames of ours.
        before: our records before each frame.
        reference: frames of the reference.
        led: frames of ours with the reference's memory.
    """

    free: list[TrackedFrame] = field(default_factory=list)
    before: list[dict[int, Masklet]] = field(default_factory=list)
    reference: list[ReferenceFrame] = field(default_factory=list)
    led: list[TrackedFrame] = field(default_factory=list)


def scripted(last: TrackedFrame | None, number: int, generator: torch.Generator) -> Detections:
    """What the detector is to say, given the frame before."""
    rows: list[tuple[int, float, Tensor]] = []
    for row, obj_id in enumerate([] if last is None else last.obj_ids):
        assert last is not None
        luck, down, right, score = torch.rand(4, generator=generator).tolist()
        mask = last.low_res_masks[row].clamp(-20, 20)
        spurious = obj_id % 4 == 3
        if spurious or luck < 0.2 or not (mask > 0).any():
            continue
        if luck < 0.35:
            mask = mask.roll((int(down * 5) - 2, int(right * 5) - 2), (0, 1))
        rows.append((last.prompt_ids[row], 0.55 + 0.44 * score, mask))
    if number % 3 == 0 and number < 36:
        x, y, radius, prompt, score = torch.rand(5, generator=generator).tolist()
        newcomer = 12 * disc(0.1 + 0.8 * x, 0.1 + 0.8 * y, 0.06 + 0.1 * radius) - 6
        rows.append((int(prompt > 0.5), 0.6 + 0.39 * score, newcomer))
    if not rows:
        return Detections.empty((SIZE, SIZE))
    rows.sort(key=lambda row: row[0])  # the reference takes prompt after prompt
    return Detections(
        prompt_ids=torch.tensor([row[0] for row in rows]),
        scores=torch.tensor([row[1] for row in rows]),
        boxes=torch.zeros(len(rows), 4),
        masks=torch.stack([row[2] for row in rows]),
    )


def take_memory(tracker: VideoTracker, session: Any, frame_index: int) -> None:
    """Put the reference's memory of a frame in place of ours."""
    bank = tracker._store.memories.bank
    for row, masklet in enumerate(tracker.masklets):
        outputs = session.output_dict_per_obj[session.obj_id_to_idx(masklet.obj_id)]
        entry = {**outputs["non_cond_frame_outputs"], **outputs["cond_frame_outputs"]}[frame_index]
        bank.write(
            [row],
            frame_index,
            entry["maskmem_features"].transpose(0, 1),
            entry["object_pointer"].reshape(1, -1),
            conditioning=frame_index in outputs["cond_frame_outputs"],
        )


@torch.no_grad()
def run(model: TrackerModel, video: Sequence[TrackerFeatures], seed: int, reverse: bool) -> Run:
    result = Run()
    order = list(range(NUM_FRAMES))[:: -1 if reverse else 1]
    generator = torch.Generator().manual_seed(seed)
    detections = [Detections.empty((SIZE, SIZE))] * NUM_FRAMES
    tracker = VideoTracker(model, CONFIG)
    last = None
    for number, index in enumerate(order):
        detections[index] = scripted(last, number, generator)
        result.before.append({masklet.obj_id: masklet for masklet in tracker.masklets})
        last = tracker.step(index, video[index], detections[index], reverse=reverse)
        result.free.append(last)

    config = Sam3TrackerVideoConfig(**model.config.to_dict())
    network = Sam3TrackerVideoModel(config, remove_vision_encoder=True).eval().double()
    network.load_state_dict(model.state_dict())
    loop = reference_loop(network, video, detections, CONFIG)
    session = new_session(NUM_FRAMES, model.config.image_size, num_prompts=2)
    led = VideoTracker(model, CONFIG)
    for index in order:
        result.reference.append(play(loop, session, index, reverse=reverse))
        result.led.append(led.step(index, video[index], detections[index], reverse=reverse))
        take_memory(led, session, index)
    return result


@pytest.fixture(scope="module", params=[0, 2])
def scene(request: pytest.FixtureRequest) -> tuple[int, TrackerModel, list[TrackerFeatures]]:
    """A seed, and the tracker and video made from it, in double precision."""
    model, video = copying_tracker(request.param, NUM_FRAMES)
    precise = []
    for frame in video:
        fine, middle, coarse = (level.double() for level in frame.levels)
        precise.append(TrackerFeatures(levels=(fine, middle, coarse)))
    return request.param, model.double(), precise


@pytest.fixture(scope="module", params=["forward", "reverse"])
def both(
    request: pytest.FixtureRequest, scene: tuple[int, TrackerModel, list[TrackerFeatures]]
) -> tuple[int, Run]:
    seed, model, video = scene
    return seed, run(model, video, SCRIPTS[seed], reverse=request.param == "reverse")


def iou(ours: Tensor, theirs: Tensor) -> float:
    union = (ours | theirs).sum().item()
    return 1.0 if union == 0 else (ours & theirs).sum().item() / union


def at_video_size(logits: Tensor) -> Tensor:
    resized = F.interpolate(logits[None, None].float(), VIDEO_SIZE, mode="bilinear")
    return resized[0, 0] > 0


def shown(frame: TrackedFrame, theirs: ReferenceFrame) -> Iterator[tuple[Tensor, Tensor]]:
    """Our and their mask of every object that the reference does not hide."""
    for row, obj_id in enumerate(frame.obj_ids):
        if obj_id not in theirs.suppressed:
            yield frame.low_res_masks[row], theirs.masks[obj_id]


def test_same_objects(both: tuple[int, Run]) -> None:
    for frames in (both[1].free, both[1].led):
        for ours, theirs in zip(frames, both[1].reference, strict=True):
            assert ours.obj_ids == theirs.obj_ids
            assert ours.frame_stats.num_reconditioned == len(theirs.reconditioned)
            hidden = {
                obj_id
                for obj_id, state in zip(ours.obj_ids, ours.states, strict=True)
                if state is MaskletState.SUPPRESSED
            }
            assert hidden >= theirs.suppressed & set(ours.obj_ids)
    removed = [set(frame.newly_removed) for frame in both[1].free]
    assert set().union(*removed) == both[1].reference[-1].removed


def test_same_masks_and_scores_from_the_same_memory(both: tuple[int, Run]) -> None:
    for ours, theirs in zip(both[1].led, both[1].reference, strict=True):
        for mask, expected in shown(ours, theirs):
            decided = expected.abs() > ROUNDING
            assert iou((mask > 0) & decided, (expected > 0) & decided) >= MIN_IOU
        expected_scores = torch.tensor([theirs.tracker_scores[i] for i in ours.obj_ids])
        torch.testing.assert_close(ours.tracker_scores, expected_scores, atol=1e-5, rtol=0)


def test_same_masks_over_a_whole_video(both: tuple[int, Run]) -> None:
    seed, result = both
    frames = [
        [iou(at_video_size(mask), at_video_size(expected)) for mask, expected in shown(*pair)]
        for pair in zip(result.free, result.reference, strict=True)
    ]
    ious = [value for frame in frames for value in frame]
    if seed == 0:
        # Seen: all frames with AVX-512; 0.9981 and 0.9985 for two masks with AVX2 and SSE4.
        assert sum(min(frame, default=1.0) >= MIN_IOU for frame in frames) >= MIN_FRAMES
        assert min(ious) >= 0.99
    else:
        # Here a rounded pixel did change what followed, for one masklet.
        assert sum(ious) / len(ious) >= 0.99


def test_the_script_leaves_nothing_out(both: tuple[int, Run]) -> None:
    """What the comparison is about does happen."""
    seed, result = both
    # What the other scene shows besides depends on a pixel.
    assert events(result) >= (EVENTS if seed == 0 else EVENTS - {"reconditioned", "gave way"})


def events(result: Run) -> set[str]:
    happened = set()
    was_empty: set[int] = set()
    for number, (ours, theirs) in enumerate(zip(result.free, result.reference, strict=True)):
        before = result.before[number]
        stats = ours.frame_stats
        happened |= {"new"} if stats.num_new else set()
        happened |= {"reconditioned"} if stats.num_reconditioned else set()
        happened |= {"hidden"} if theirs.suppressed & set(ours.obj_ids) else set()
        for obj_id in ours.newly_removed:
            unseen = before[obj_id].num_unmatched >= CONFIG.hotstart_unmatch_thresh - 1
            happened.add("unmatched" if unseen else "duplicate")
            if obj_id != max(before):
                happened.add("not the last removed")
        for obj_id, state, mask in zip(ours.obj_ids, ours.states, ours.low_res_masks, strict=True):
            if state is MaskletState.SUPPRESSED:
                if obj_id not in theirs.suppressed:
                    happened.add("gave way")
            elif not (mask > 0).any():
                happened.add("empty")
                was_empty.add(obj_id)
            elif obj_id in was_empty:
                happened.add("returned")
    return happened
