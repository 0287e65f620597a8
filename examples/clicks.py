"""Click on an object, refine its mask with a second click, and follow it.

The requests are those of SAM 3's own video predictor.

    python examples/clicks.py [VIDEO [X Y]]      X and Y as fractions of the frame
"""

from __future__ import annotations

import sys
from importlib.resources import files
from typing import Any

from maskstream import build_sam3_video_predictor

DEMO = str(files("maskstream.pipeline") / "assets" / "demo.mp4")
PIZZA = (0.25, 0.36)
NUM_FRAMES = 6


def main(video: str, x: float, y: float) -> None:
    """Print how large the object's mask is, after each click and on the first frames."""
    predictor = build_sam3_video_predictor()
    start = {"type": "start_session", "resource_path": video}
    session_id = predictor.handle_request(start)["session_id"]
    click = {
        "type": "add_prompt",
        "session_id": session_id,
        "frame_index": 0,
        "obj_id": 1,
        "points": [[x, y]],
        "point_labels": [1],  # 1: on the object, 0: beside it
    }
    print("one click:", num_pixels(predictor.handle_request(click)), "pixels")

    # More points for the same object are added to those before; its mask is decoded anew.
    more = {**click, "points": [[x + 0.04, y], [0.5, 0.95]], "point_labels": [1, 0]}
    print("refined:", num_pixels(predictor.handle_request(more)), "pixels")

    follow = {
        "type": "propagate_in_video",
        "session_id": session_id,
        "max_frame_num_to_track": NUM_FRAMES - 1,  # how far from the first
    }
    for answer in predictor.handle_stream_request(follow):
        print(f"frame {answer['frame_index']}:", num_pixels(answer), "pixels")
    predictor.handle_request({"type": "close_session", "session_id": session_id})


def num_pixels(answer: dict[str, Any]) -> int:
    """How large the masks of an answer are together."""
    return int(answer["outputs"]["out_binary_masks"].sum())


if __name__ == "__main__":
    x, y = map(float, sys.argv[2:4]) if len(sys.argv) > 3 else PIZZA
    main(sys.argv[1] if len(sys.argv) > 1 else DEMO, x, y)
