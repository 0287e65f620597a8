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
    """Start a session on a file that runs by itself, and print its results by cursor."""
    with Client(url) as client:
        start = {
            "type": "start_session",
            "resource_path": video,
            "autostart": True,
            "max_frames": NUM_FRAMES,
        }
        session = {"session_id": client.handle_request(start)["session_id"]}
        client.handle_request(
            {"type": "add_prompt", "frame_index": 0, "text": "dog face", **session}
        )
        cursor, is_end = 0, False
        while not is_end:
            # Results stay in the log: another client, or this one tomorrow, goes on from a cursor.
            page = client.handle_request(
                {"type": "get_results", "cursor": cursor, "timeout_s": 10.0, **session}
            )
            cursor, is_end = page["cursor"], page["is_end"]
            for result in page["results"]:
                print(f"frame {result['frame_index']}:", result["outputs"]["out_obj_ids"])
        client.handle_request({"type": "close_session", **session})


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else DEMO)
