"""A program that ends while its sessions run ends without a complaint."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
from maskstream import build_sam3_video_predictor, demo_clip
predictor = build_sam3_video_predictor()
start = {"type": "start_session", "resource_path": demo_clip(), "autostart": True, "loop": True}
session = {"session_id": predictor.handle_request(start)["session_id"]}
predictor.handle_request({"type": "add_prompt", "frame_index": 0, "text": "dog face", **session})
predictor.handle_request({"type": "get_results", "timeout_s": 60.0, **session})
"""


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "predictor.close()"])
def test_a_session_that_runs(end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM + end],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (3 if "3" in end else 0, "")
