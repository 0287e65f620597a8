"""The demonstration clip that ships with the package, and its truth.

A clip of the validation split, drawn from a seed far outside of what training and validation
use: shapes cross, hide behind each other and behind bars, leave the picture and return.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from pipeline.rle import encode_mask
from training.scenes import ClipRenderer, ClipSpec, Frame, make_clip

FIRST_SEED = 900_000
CHOSEN_SEED = 900_080  # picked by eye among the liveliest that find_seed knows
WIDTH, HEIGHT = 1280, 720
NUM_FRAMES = 264
FRAME_RATE = 24
TRUTH_EVERY = 2
TRUTH_SHRINK = 2
CRF = 21


@dataclass(frozen=True, slots=True)
class Events:
    """What happens in a clip, counted over its objects.

    Attributes:
        hidings: times that an object inside the picture vanishes behind others and returns.
        exits: times that an object leaves the picture and returns.
        never_seen: objects that are hardly ever visible.
        twins: objects that share colour and shape with another one.
    """

    hidings: int
    exits: int
    never_seen: int
    twins: int


def demo_spec(seed: int) -> ClipSpec:
    """The clip of this seed at the demonstration's shape and pace."""
    spec = make_clip(seed, "validation", num_objects=(6, 8), aspect=WIDTH / HEIGHT)
    slow = [
        replace(
            thing,
            track=replace(
                thing.track,
                omega=(thing.track.omega[0] * 0.55, thing.track.omega[1] * 0.55),
            ),
        )
        for thing in spec.objects
    ]
    return replace(spec, noise=1.0, objects=tuple(slow))


def count_events(spec: ClipSpec) -> Events:
    """Play a clip at thumbnail size and count what happens."""
    renderer = ClipRenderer(spec, (90, 160), supersample=2)
    frames = [renderer.frame(index) for index in range(0, NUM_FRAMES, 3)]
    visible = np.stack([frame.visible.sum((1, 2)) for frame in frames])
    inside = np.stack([frame.amodal_area for frame in frames])
    pairs = list(zip(frames[0].colors, frames[0].shapes, strict=True))
    return Events(
        hidings=_returns(visible < 1.0, inside > 20.0),
        exits=_returns(inside < 1.0, np.ones_like(inside, dtype=np.bool_)),
        never_seen=int(((visible > 20.0).mean(0) < 0.3).sum()),
        twins=sum(pairs.count(pair) > 1 for pair in pairs),
    )


def _returns(gone: npt.NDArray[np.bool_], counted: npt.NDArray[np.bool_]) -> int:
    """Spells of (T, N) ``gone`` that begin and end within the clip and are ``counted``."""
    total = 0
    for column in range(gone.shape[1]):
        spell = gone[:, column]
        starts = np.flatnonzero(~spell[:-1] & spell[1:]) + 1
        for start in starts:
            ends = np.flatnonzero(~spell[start:])
            if len(ends):
                total += int(counted[start : start + ends[0], column].all())
    return total


def find_seed(num_tried: int) -> int:
    """The seed of the liveliest clip among ``num_tried``."""

    def liveliness(seed: int) -> tuple[int, int]:
        events = count_events(demo_spec(seed))
        good = events.never_seen == 0 and events.exits >= 1 and events.twins >= 2
        return (int(good), events.hidings)

    return max(range(FIRST_SEED, FIRST_SEED + num_tried), key=liveliness)


def frame_truth(frame: Frame) -> list[dict[str, Any]]:
    """Visible objects of a frame with their masks, shrunk by ``TRUTH_SHRINK``."""
    count, height, width = frame.visible.shape
    step = TRUTH_SHRINK
    small = frame.visible.reshape(count, height // step, step, width // step, step).mean((2, 4))
    return [
        {"obj_id": int(obj_id), "counts": encode_mask(mask)["counts"]}
        for obj_id, mask in zip(frame.obj_ids, small >= 0.5, strict=True)
        if mask.any()
    ]


def write_demo(folder: Path, seed: int) -> None:
    """Render the clip of ``seed`` into ``demo.mp4`` and ``demo_truth.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = demo_spec(seed)
    renderer = ClipRenderer(spec, (HEIGHT, WIDTH), supersample=3)
    truth: list[dict[str, Any]] = []
    with av.open(str(folder / "demo.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAME_RATE))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": str(CRF), "preset": "slow"}
        for index in range(NUM_FRAMES):
            frame = renderer.frame(index)
            picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24")
            container.mux(stream.encode(picture))
            if index % TRUTH_EVERY == 0:
                truth.append({"frame_index": index, "objects": frame_truth(frame)})
        container.mux(stream.encode())
    first = renderer.frame(0)
    data = {
        "video": "demo.mp4",
        "seed": seed,
        "num_frames": NUM_FRAMES,
        "size": [HEIGHT // TRUTH_SHRINK, WIDTH // TRUTH_SHRINK],
        "objects": [
            {"obj_id": int(obj_id), "color": color, "shape": shape}
            for obj_id, color, shape in zip(first.obj_ids, first.colors, first.shapes, strict=True)
        ],
        "frames": truth,
    }
    text = json.dumps(data, separators=(",", ":")) + "\n"
    (folder / "demo_truth.json").write_text(text, encoding="utf-8")
