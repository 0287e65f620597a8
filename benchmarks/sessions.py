"""Whether sessions leave something behind in the process that tracks.

    python -m benchmarks.sessions [--sessions 100]

Short sessions on a runtime, four at a time. After each tenth of them: the memory that the track
worker has for itself, in MB, which is to stay where it was after the first tenth.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.clip import TEXTS, coming_and_going, write_clip
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.runtime import Runtime, RuntimeConfig
from maskstream.pipeline.store import open_store

WIDTH, HEIGHT, NUM_FRAMES = 320, 240, 6
AT_ONCE = 4


def own_memory_mb(pid: int) -> float:
    """Memory of a process that it shares with none, MB (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/{pid}/status does not tell RssAnon")


def serve_some(client: Client, clip: Path) -> None:
    """A few sessions side by side, from their start to their end."""
    start = {"type": "start_session", "resource_path": str(clip)}
    names = [client.handle_request(start)["session_id"] for _ in range(AT_ONCE)]
    for name in names:
        prompt = {"type": "add_prompt", "frame_index": 0, "text": TEXTS[0]}
        client.handle_request(prompt | {"session_id": name})
    for name in names:
        list(client.handle_stream_request({"type": "propagate_in_video", "session_id": name}))
        client.handle_request({"type": "close_session", "session_id": name})


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sessions")
    parser.add_argument("--sessions", type=int, default=100)
    num_sessions = parser.parse_args().sessions
    print("| sessions | track worker, MB |\n|---:|---:|")
    with (
        tempfile.TemporaryDirectory() as folder,
        open_store() as store,
        Runtime(store, RuntimeConfig()) as runtime,
    ):
        clip = write_clip(Path(folder) / "clip.mp4", NUM_FRAMES, WIDTH, HEIGHT, coming_and_going)
        [pid] = runtime.worker_pids()["track"]
        client = Client(store)
        print(f"| 0 | {own_memory_mb(pid):.0f} |", flush=True)
        for done in range(AT_ONCE, num_sessions + 1, AT_ONCE):
            serve_some(client, clip)
            if done * 10 // num_sessions > (done - AT_ONCE) * 10 // num_sessions:
                print(f"| {done} | {own_memory_mb(pid):.0f} |", flush=True)


if __name__ == "__main__":
    main()
