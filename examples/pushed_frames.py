"""Push frames as they come, get each one's masks at once, and change the prompts on the way.

python examples/pushed_frames.py [VIDEO]      its frames stand in for those of your camera
"""

from __future__ import annotations

import sys
from importlib.resources import files
from itertools import islice

from maskstream import build_sam3_video_predictor, open_source

DEMO = str(files("maskstream.pipeline") / "assets" / "demo.mp4")
NUM_FRAMES = 6


def main(video: str) -> None:
    """Print which objects are on each frame that is pushed."""
    predictor = build_sam3_video_predictor()
    # "live" gives each frame's result at once; "delayed" waits 15 frames to leave out mistakes.
    start = {"type": "start_session", "resource_path": "pushed://", "latency": "live"}
    session = {"session_id": predictor.handle_request(start)["session_id"]}
    predictor.handle_request(
        {"type": "add_prompt", "frame_index": 0, "text": "dog face", **session}
    )
    cursor = 0
    with open_source(video) as source:
        for frame in islice(source, NUM_FRAMES):
            if frame.index == NUM_FRAMES // 2:
                # Takes effect at the next frame; what is tracked already is not touched.
                more = {"type": "add_prompt", "frame_index": 0, "text": "pizza", **session}
                print("pizza from frame", predictor.handle_request(more)["took_effect_at"], "on")
            predictor.handle_request(
                {"type": "push_frame", "frame": frame.image, "pts_s": frame.pts_s, **session}
            )
            # A cursor says up to where results were read. This waits until there is one more.
            wait = {"type": "get_results", "cursor": cursor, "timeout_s": 30.0, **session}
            answer = predictor.handle_request(wait)
            cursor = answer["cursor"]
            for result in answer["results"]:
                outputs = result["outputs"]
                print(f"frame {result['frame_index']}:", ", ".join(outputs["out_labels"]))
    predictor.handle_request({"type": "close_session", **session})


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else DEMO)
