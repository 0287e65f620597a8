"""Find and follow everything that words name in a video file.

python examples/words.py [VIDEO [WORDS …]]
"""

from __future__ import annotations

import sys
from importlib.resources import files

from maskstream import VideoSegmenter, open_source

DEMO = str(files("maskstream.pipeline") / "assets" / "demo.mp4")
NUM_FRAMES = 6


def main(video: str, words: list[str]) -> None:
    """Print what is found on the first frames."""
    # "tiny" is built in and knows emoji and shapes; "facebook/sam3" is the released model.
    segmenter = VideoSegmenter.from_checkpoint("tiny")
    for text in words:
        segmenter.add_concept(text)
    with open_source(video) as source:
        for result in segmenter.run(source, max_frames=NUM_FRAMES):
            print(f"frame {result.frame_index}")
            # The arrays of a result have an entry for each object, in one order.
            for row, obj_id in enumerate(result.obj_ids):
                num_pixels = int(result.masks[row].sum())
                print(f"  object {obj_id}: {result.labels[row]}, {num_pixels} pixels")


if __name__ == "__main__":
    video = sys.argv[1] if len(sys.argv) > 1 else DEMO
    main(video, sys.argv[2:] or ["dog face", "足球"])
