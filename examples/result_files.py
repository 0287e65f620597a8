"""Write an overlay video, JSON lines and COCO files of what words and a box name.

python examples/result_files.py [VIDEO [FOLDER]]
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path

from maskstream import VideoSegmenter, open_source
from maskstream.pipeline.sinks import FORMATS, open_sinks

DEMO = str(files("maskstream.pipeline") / "assets" / "demo.mp4")
NUM_FRAMES = 6


def main(video: str, folder: Path) -> None:
    """Write all files and print where they are."""
    segmenter = VideoSegmenter.from_checkpoint("tiny")
    segmenter.add_concept("dog face")
    with open_source(video) as source:
        # x, y, width, height as fractions of the frame: an example of what to find more of.
        segmenter.add_concept(frame=source.read(0), boxes=[[0.16, 0.18, 0.18, 0.36]])
        # Files are called so when they are whole: until then they end in .part.
        with open_sinks(folder, FORMATS, source) as sinks:
            for result in segmenter.run(source, max_frames=NUM_FRAMES):
                sinks.write(result)
        for path in sinks.paths:
            print(path)


if __name__ == "__main__":
    video = sys.argv[1] if len(sys.argv) > 1 else DEMO
    main(video, Path(sys.argv[2] if len(sys.argv) > 2 else "demo-output"))
