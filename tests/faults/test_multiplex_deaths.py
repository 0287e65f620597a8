"""A session on SAM 3.1 whose track worker is killed goes on as one that nothing has disturbed."""

from __future__ import annotations

from pathlib import Path

import psutil

from maskstream.core.rle import encode_mask
from maskstream.pipeline.api.commands import AddConcept, AddObject
from maskstream.pipeline.video.model import VideoModel
from maskstream.tracker.network.multiplex.model import MultiplexModel
from maskstream.workers.models import ModelSpec
from tests.faults.killing import kill, one_pid
from tests.integration.serving import (
    CONFIG,
    Served,
    check_unbroken,
    eventually,
    faster,
    running_runtime,
    settled_prompts,
)
from tests.pipeline import scene
from tests.tracker.network.multiplex.small import small_folder


def test_results_are_those_of_an_unbroken_run(clip: Path, tmp_path: Path) -> None:
    folder = small_folder(tmp_path / "multiplex")
    model = VideoModel.from_checkpoint(folder, device="cpu")
    assert isinstance(model.tracker, MultiplexModel)
    with running_runtime(faster(CONFIG, model=ModelSpec(checkpoint=str(folder)))) as (
        runtime,
        store,
    ):
        served = Served.start(store, clip, "multiplex", autostart=True)
        served.ask(AddConcept(text="red circle"))
        served.reach(2)
        served.do(AddObject(obj_id=30, mask=dict(encode_mask(scene.blue_square(20)))))
        for killed_at in (6, 14):
            served.reach(killed_at)
            pid = one_pid(runtime, "track")
            kill(pid)
            eventually(lambda pid=pid: not psutil.pid_exists(pid))  # type: ignore[misc]
        check_unbroken(served, model, clip)
        assert len(settled_prompts(served)) == 2
        assert store.get_session("multiplex").writer >= 3
