"""A client in another process, with neither torch nor Ray."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from maskstream.pipeline.sources import open_source
from maskstream.pipeline.store import open_store
from maskstream.pipeline.video.segmenter import stamp_of
from tests.pipeline.clips import write_numbered_clip
from tests.pipeline.scripted import ScriptedTracking, serving

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("client_program.py")


def test_another_process_gets_what_the_segmenter_gave(tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", 6)
    store = open_store()
    assert store.url is not None
    try:
        with serving(store):
            ran = subprocess.run(
                [sys.executable, str(PROGRAM), store.url, "maskstream", str(clip), "red circle"],
                cwd=ROOT,
                env={"PYTHONPATH": str(ROOT), "PATH": ""},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert ran.stderr == ""
        assert ran.returncode == 0
        assert store.list_sessions().sessions == ()
    finally:
        store.close()
    prompted, *answers = [json.loads(line) for line in ran.stdout.splitlines()]
    assert (prompted["frame_index"], prompted["ids"]) == (0, [0])
    tracking = ScriptedTracking()
    tracking.add_concept("red circle")
    with open_source(clip) as source:
        expected = [
            result
            for frame in source
            for result in tracking.step(stamp_of(frame), frame.image, None)
        ]
    assert len(expected) == 6
    for answer, result in zip(answers, expected, strict=True):
        assert answer["frame_index"] == result.frame_index
        assert (answer["ids"], answer["labels"]) == (result.obj_ids.tolist(), result.labels)
        assert answer["masks"] == [
            hashlib.sha256(mask.tobytes()).hexdigest() for mask in result.masks
        ]


def test_the_guard_in_the_program_works() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", f"import runpy; runpy.run_path({str(PROGRAM)!r}); import torch"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert "torch is not to be imported by a client" in ran.stderr
