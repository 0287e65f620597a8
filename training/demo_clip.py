"""The demonstration clip that ships with the package, and its truth.

A clip of the validation split, drawn from a seed far outside of what training and validation
use: a few things cross, hide behind each other and behind bars, leave the picture and return.
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

from maskstream.core.rle import encode_mask
from training.names import KINDS
from training.scenes import ClipRenderer, Frame
from training.spec import ClipSpec, Look, ObjectSpec, Surface, draw_rgb, make_clip
from training.vocabulary import COLORS

FIRST_SEED = 900_000
CHOSEN_SEED = 900_097  # picked by eye among the liveliest that find_seed knows
WIDTH, HEIGHT = 1280, 720
NUM_FRAMES = 288
FRAME_RATE = 24
TRUTH_EVERY = 2
TRUTH_SHRINK = 2
CRF = 21
#: Who plays: the name of each thing and its colour, None for emoji.
CAST: tuple[tuple[str, str | None], ...] = (
    ("dog face", None),
    ("pizza", None),
    ("rocket", None),
    ("dog face", None),
    ("star", "blue"),
    ("soccer ball", None),
    ("strawberry", None),
)


@dataclass(frozen=True, slots=True)
class Events:
    """What happens in a clip, counted over its objects.

    Attributes:
        hidings: times that an object inside the picture vanishes behind others and returns.
        exits: times that an object leaves the picture and returns.
        never_seen: objects that are hardly ever visible.
        twins: objects that share kind and colour with another one.
    """

    hidings: int
    exits: int
    never_seen: int
    twins: int


def demo_spec(seed: int) -> ClipSpec:
    """The clip of this seed at the demonstration's shape and pace."""
    count = len(CAST)
    spec = make_clip(
        seed,
        "validation",
        num_objects=(count, count),
        aspect=WIDTH / HEIGHT,
        zoom=1.15,
        named_only=True,
    )
    calm = Look(noise=1.0, falloff=(0.15, spec.look.falloff[1]))
    played = tuple(_played(thing) for thing in spec.objects)
    return replace(spec, look=calm, objects=played)


def _played(thing: ObjectSpec) -> ObjectSpec:
    """A thing with its part in the demonstration; what only hides others keeps its own."""
    omega = (thing.track.omega[0] * 0.55, thing.track.omega[1] * 0.55)
    track = replace(thing.track, omega=omega)
    if thing.obj_id < 0:
        return replace(thing, track=track)
    name, color = CAST[thing.obj_id]
    if color is None:
        outline, surface = "sprite", Surface("sprite", shade=0.1)
    else:
        rgb = draw_rgb(np.random.default_rng(0), color)
        outline, surface = name, Surface("plain", rgb=rgb, shade=0.1)
    return replace(
        thing,
        kind=_number(name),
        color=-1 if color is None else COLORS.index(color),
        outline=outline,
        surface=surface,
        track=track,
    )


def _number(name: str) -> int:
    return next(kind.number for kind in KINDS if kind.name == name)


def count_events(spec: ClipSpec) -> Events:
    """Play a clip at thumbnail size and count what happens."""
    renderer = ClipRenderer(spec, (90, 160), supersample=2)
    frames = [renderer.frame(index) for index in range(0, NUM_FRAMES, 3)]
    visible = np.stack([frame.visible.sum((1, 2)) for frame in frames])
    inside = np.stack([frame.amodal_area for frame in frames])
    pairs = list(zip(frames[0].kinds.tolist(), frames[0].colors.tolist(), strict=True))
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


def named_objects(frame: Frame) -> list[dict[str, Any]]:
    """What the objects are called; ``color`` is None for those that are many-coloured."""
    return [
        {
            "obj_id": int(obj_id),
            "name": KINDS[kind].name,
            "chinese": KINDS[kind].chinese,
            "color": COLORS[color] if color >= 0 else None,
        }
        for obj_id, kind, color in zip(frame.obj_ids, frame.kinds, frame.colors, strict=True)
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
        "objects": named_objects(first),
        "frames": truth,
    }
    text = json.dumps(data, separators=(",", ":")) + "\n"
    (folder / "demo_truth.json").write_text(text, encoding="utf-8")
