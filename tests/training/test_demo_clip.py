from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import av
import numpy as np

from maskstream.core.rle import decode_mask
from training.demo_clip import (
    CAST,
    CHOSEN_SEED,
    HEIGHT,
    WIDTH,
    _returns,
    count_events,
    demo_spec,
    named_objects,
    write_demo,
)
from training.names import KINDS
from training.scenes import ClipRenderer
from training.vocabulary import HELD_OUT, similar_kinds

ASSETS = Path(__file__).parents[2] / "pipeline" / "assets"


def test_things_happen_in_the_bundled_clip() -> None:
    events = count_events(demo_spec(CHOSEN_SEED))
    assert events.hidings >= 3
    assert events.exits >= 2
    assert events.never_seen == 0
    assert events.twins >= 2


def test_the_cast_can_be_told_apart_and_holds_twins() -> None:
    named = named_objects(ClipRenderer(demo_spec(CHOSEN_SEED), (90, 160)).frame(0))
    assert [(entry["name"], entry["color"]) for entry in named] == list(CAST)
    assert [entry["obj_id"] for entry in named] == list(range(len(CAST)))
    kinds = {kind.name: kind for kind in KINDS}
    assert all(entry["chinese"] == kinds[entry["name"]].chinese for entry in named)
    different = {entry["name"] for entry in named}
    assert len(different) < len(named)
    for first, second in combinations(sorted(different), 2):
        assert kinds[second].number not in similar_kinds(kinds[first].number)
    assert not {(color, name) for name, color in CAST} & HELD_OUT


def test_returning_is_counted_between_two_sights() -> None:
    seen = np.asarray([[1, 0], [0, 0], [0, 1], [1, 1], [0, 1]], np.bool_)
    everywhere = np.ones_like(seen)
    assert _returns(~seen, everywhere) == 1
    assert _returns(~seen, ~everywhere) == 0


def test_bundled_truth_lies_on_the_bundled_picture() -> None:
    truth = json.loads((ASSETS / "demo_truth.json").read_text(encoding="utf-8"))
    assert (ASSETS / "demo.mp4").stat().st_size <= 3_000_000
    names = {entry["obj_id"]: entry["name"] for entry in truth["objects"]}
    with av.open(str(ASSETS / "demo.mp4")) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (HEIGHT, WIDTH, 3)
    small = picture.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean((1, 3))
    checked = set()
    for entry in truth["frames"][0]["objects"]:
        mask = decode_mask({"size": truth["size"], "counts": entry["counts"]})
        red, green, blue = small[mask].mean(0)
        name = names[entry["obj_id"]]
        if name == "star":
            assert blue > 2 * max(red, green)
        elif name == "strawberry":
            assert red > 1.5 * max(green, blue)
        elif name == "pizza":
            assert red > 1.2 * green > 1.2 * blue
        elif name == "soccer ball":
            assert max(red, green, blue) < 1.2 * min(red, green, blue)
        else:
            continue
        checked.add(name)
    assert len(checked) >= 3


def test_rendering_again_gives_the_same_truth(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("training.demo_clip.NUM_FRAMES", 3)
    write_demo(tmp_path, CHOSEN_SEED)
    new = json.loads((tmp_path / "demo_truth.json").read_text(encoding="utf-8"))
    old = json.loads((ASSETS / "demo_truth.json").read_text(encoding="utf-8"))
    assert new["frames"] == old["frames"][:2]
    with av.open(str(tmp_path / "demo.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3
    assert np.array_equal(new["size"], old["size"])
