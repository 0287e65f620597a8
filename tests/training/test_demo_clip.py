from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np

from pipeline.rle import decode_mask
from training.demo_clip import CHOSEN_SEED, HEIGHT, WIDTH, count_events, demo_spec, write_demo

ASSETS = Path(__file__).parents[2] / "pipeline" / "assets"


def test_things_happen_in_the_bundled_clip() -> None:
    events = count_events(demo_spec(CHOSEN_SEED))
    assert events.hidings >= 3
    assert events.exits >= 2
    assert events.never_seen == 0
    assert events.twins >= 2


def test_bundled_truth_lies_on_the_bundled_picture() -> None:
    truth = json.loads((ASSETS / "demo_truth.json").read_text(encoding="utf-8"))
    assert (ASSETS / "demo.mp4").stat().st_size <= 3_000_000
    colors = {entry["obj_id"]: entry["color"] for entry in truth["objects"]}
    with av.open(str(ASSETS / "demo.mp4")) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (HEIGHT, WIDTH, 3)
    small = picture.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean((1, 3))
    checked = 0
    for entry in truth["frames"][0]["objects"]:
        mask = decode_mask({"size": truth["size"], "counts": entry["counts"]})
        red, green, blue = small[mask].mean(0)
        color = colors[entry["obj_id"]]
        if color == "red":
            assert red > 2 * max(green, blue)
            checked += 1
        elif color == "green":
            assert green > 1.5 * max(red, blue)
            checked += 1
        elif color == "yellow":
            assert min(red, green) > 2 * blue
            checked += 1
    assert checked >= 3


def test_rendering_again_gives_the_same_truth(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("training.demo_clip.NUM_FRAMES", 3)
    write_demo(tmp_path, CHOSEN_SEED)
    new = json.loads((tmp_path / "demo_truth.json").read_text(encoding="utf-8"))
    old = json.loads((ASSETS / "demo_truth.json").read_text(encoding="utf-8"))
    assert new["frames"] == old["frames"][:2]
    with av.open(str(tmp_path / "demo.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3
    assert np.array_equal(new["size"], old["size"])
