"""Configuration of the video loop: read, written, refused."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from transformers import Sam3VideoConfig

from maskstream.core.errors import ConfigError
from maskstream.tracker.video_config import DEFAULT_MAX_NUM_OBJECTS, VideoConfig

OURS_ONLY = {
    "isolate_objects",
    "pack_objects",
    "association_rules",
    "border_margin",
    "reencode_memory_on_new_objects",
    "reidentify_within",
    "reidentify_distance",
    "reidentify_speed",
    "reidentify_size_ratio",
}


def test_defaults_are_those_of_transformers() -> None:
    theirs = Sam3VideoConfig()
    for name, value in VideoConfig().to_dict().items():
        if name not in OURS_ONLY | {"max_num_objects"}:
            assert getattr(theirs, name) == value, name


def test_a_checkpoint_file_is_read_as_it_stands() -> None:
    values = json.loads(json.dumps(Sam3VideoConfig(fill_hole_area=5).to_dict()))
    assert values["max_num_objects"] == 10000
    config = VideoConfig.from_dict(values)
    assert config == VideoConfig(fill_hole_area=5)
    assert config.max_num_objects == DEFAULT_MAX_NUM_OBJECTS


def test_written_and_read_back() -> None:
    config = VideoConfig(new_det_thresh=0.25, reencode_memory_on_new_objects=True, hotstart_delay=0)
    assert VideoConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert VideoConfig.from_dict({}) == VideoConfig()
    assert VideoConfig.from_dict({"max_num_objects": 9999}).max_num_objects == 9999


def test_transformers_reads_what_is_written() -> None:
    written = VideoConfig(assoc_iou_thresh=0.2, recondition_every_nth_frame=4).to_dict()
    theirs = Sam3VideoConfig(**written)
    assert theirs.assoc_iou_thresh == 0.2
    assert theirs.recondition_every_nth_frame == 4


def test_whole_numbers_will_do_for_thresholds() -> None:
    config = VideoConfig(new_det_thresh=1, det_nms_thresh=0)
    assert type(config.new_det_thresh) is float
    assert type(config.det_nms_thresh) is float


def test_unknown_keys_are_named() -> None:
    with pytest.raises(ConfigError, match=r"\['hotstart_dely'\].*hotstart_delay"):
        VideoConfig.from_dict({"hotstart_dely": 3})


@pytest.mark.parametrize("name", [s.name for s in fields(VideoConfig) if s.type == "float"])
@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan"), "0.5", None, True])
def test_thresholds_lie_between_0_and_1(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        VideoConfig(**{name: value})


@pytest.mark.parametrize("name", [s.name for s in fields(VideoConfig) if s.type == "int"])
@pytest.mark.parametrize("value", [1.0, "3", None, True])
def test_counts_are_integers(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*int"):
        VideoConfig(**{name: value})


@pytest.mark.parametrize("name", [s.name for s in fields(VideoConfig) if s.type == "bool"])
@pytest.mark.parametrize("value", [0, 1, "yes", None])
def test_switches_are_booleans(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*bool"):
        VideoConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("low_res_mask_size", 1),
        ("max_num_objects", 1),
        ("recondition_every_nth_frame", 0),
        ("hotstart_unmatch_thresh", 1),
        ("hotstart_dup_thresh", 1),
        ("fill_hole_area", 0),
    ],
)
def test_smallest_counts(name: str, least: int) -> None:
    assert getattr(VideoConfig(**{name: least}), name) == least
    with pytest.raises(ConfigError, match=f"{name} is {least - 1}.*at least {least}"):
        VideoConfig(**{name: least - 1})


@pytest.mark.parametrize("name", ["hotstart_unmatch_thresh", "hotstart_dup_thresh"])
def test_hot_start_thresholds_can_be_reached(name: str) -> None:
    assert getattr(VideoConfig(**{name: 15}), name) == 15
    with pytest.raises(ConfigError, match=f"{name} is 16.*never"):
        VideoConfig(**{name: 16})
    # Without hot start they mean nothing.
    assert VideoConfig(**{"hotstart_delay": 0, name: 16}).hotstart_delay == 0
    with pytest.raises(ConfigError, match="hotstart_delay"):
        VideoConfig(hotstart_delay=-1)


@pytest.mark.parametrize(
    "bounds",
    [
        {"init_trk_keep_alive": 31},
        {"init_trk_keep_alive": -2},
        {"max_trk_keep_alive": 10},
        {"min_trk_keep_alive": 40},
    ],
)
def test_keep_alive_starts_within_its_bounds(bounds: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="init_trk_keep_alive"):
        VideoConfig(**bounds)


def test_changed_by_replace_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="fill_hole_area"):
        replace(VideoConfig(), fill_hole_area=-1)
