"""Serve sessions on Ray, and speak to them through Redis from elsewhere.

The two halves are in one file here. In earnest ``maskstream serve`` is the first, on a machine with
a GPU, and the second runs anywhere, with maskstream-client alone.

    python examples/runtime_and_client.py [VIDEO]
"""

from __future__ import annotations

import sys
from contextlib import closing
from importlib.resources import files

from maskstream import Client, Runtime, RuntimeConfig
from maskstream.pipeline.store import open_store

DEMO = str(files("maskstream.pipeline") / "assets" / "demo.mp4")
NUM_FRAMES = 6


def main(video: str) -> None:
    """Start a server of one's own (or give open_store a URL), serve, and be a client of it."""
    with closing(open_store()) as store, Runtime(store, RuntimeConfig()):
        follow(str(store.url), video)


def follow(url: str, video: str) -> None:
    """Have a file segmented by one client, and print the results by cursor with another."""
    with Client(url) as client:
        start = {"type": "start_session", "resource_path": video}
        session = {"session_id": client.handle_request(start)["session_id"]}
        prompt = {"type": "add_prompt", "frame_index": 0, "text": "dog face"}
        client.handle_request({**prompt, **session})
        run = {"type": "propagate_in_video", "max_frame_num_to_track": NUM_FRAMES - 1}
        for _ in client.handle_stream_request({**run, **session}):
            pass  # one answer a frame
    with Client(url) as another:
        cursor = 0
        # Results stay in the log: any client goes on from any cursor, tomorrow as well.
        while True:
            request = {"type": "get_results", "cursor": cursor, "max_results": 4}
            page = another.handle_request({**request, **session})
            if not page["results"]:
                break
            for result in page["results"]:
                print(f"frame {result['frame_index']}:", result["outputs"]["out_obj_ids"])
            cursor = page["cursor"]
        another.handle_request({"type": "close_session", **session})


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else DEMO)
